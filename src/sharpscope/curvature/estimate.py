"""A value that says how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A scalar with its standard error, never a bare float.

    Attributes:
        value: The scalar.
        stderr: Its standard error; 0.0 where it is exact for the data given. That of n draws (``details["draws"]``) has
            n - 1 degrees of freedom, so that an interval takes Student's t: for 4 draws, 95% is 3.2 times it to both
            sides. A measure whose error is of another kind says which.
        samples: How many data points it rests on.
        converged: False if the asked precision was not reached, or the value has no finite meaning.
        details: The rest: draws, layers, k values, the route taken.

    Examples:
        >>> print(Estimate(1.5), Estimate(1.5, 0.25), Estimate(1.5, math.nan), sep=", ")
        1.5, 1.5 ± 0.25, 1.5 ± nan
    """

    value: float
    stderr: float = 0.0
    samples: int = 0
    converged: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        error = f" ± {self.stderr:.2g}" if self.stderr != 0 else ""
        return f"{self.value:.6g}{error}{'' if self.converged else ' (not converged)'}"

    def __format__(self, spec: str) -> str:
        """Format value and standard error as numbers are: ``f"{estimate:.3f}"`` gives ``1.235 ± 0.012``."""
        if not spec:
            return str(self)
        return f"{self.value:{spec}} ± {self.stderr:{spec}}" if self.stderr else f"{self.value:{spec}}"

    def of_subset(self, error: float | None, population: int) -> Estimate:
        """Return this estimate for all data points, of which it saw a subset.

        Args:
            error: The standard error that the choice of the subset leaves; None if it could not be told, 0 if the
                subset is all.
            population: How many data points there are.
        """
        if self.samples >= population:
            return self
        details = {**self.details, "population": population, "sampling_stderr": error}
        return replace(self, stderr=math.hypot(self.stderr, math.inf if error is None else error), details=details)


def mean_of(draws: Sequence[float], samples: int, **details: Any) -> Estimate:
    """Return the mean of independent draws and its standard error.

    >>> str(mean_of([1.0, 2.0, 3.0], samples=10))
    '2 ± 0.58'
    """
    n = len(draws)
    mean = math.fsum(draws) / n
    variance = math.fsum((d - mean) * (d - mean) for d in draws) / (n - 1) if n > 1 else math.inf
    return Estimate(mean, math.sqrt(variance / n), samples, n > 1, {"draws": n, **details})
