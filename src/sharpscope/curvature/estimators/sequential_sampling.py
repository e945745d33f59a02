"""Monte Carlo in rounds: independent draws until the standard error is as small as asked, or the budget is spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from sharpscope.curvature.estimate import Estimate, mean_of

# The budget of draws where a precision is asked for, as a multiple of the draws made where none is.
BUDGET = 64
# The draws of the first round, too few of which would tell little of their spread.
_FIRST = 16
# How much a round may add, as a multiple of what is there: the spread is known roughly at first.
_GROWTH = 4
_MARGIN = 1.1

# The option of a measure, at least two so that a standard error exists.
Draws = Annotated[int, Field(ge=2)]
# Makes the draws ``start`` to ``start + count - 1``: a part of a measure, which may ask for passes.
Draw = Callable[[int, int], Generator[Any, Any, list[float]]]


def draw_rounds(make: Draw, draws: int, rtol: float | None) -> Generator[Any, Any, list[float]]:
    """Return independent draws: ``draws`` of them, or with ``rtol`` as many as that precision of their mean needs.

    With ``rtol`` the first round has at most 16 draws and the last one ends at ``64 * draws``.

    Args:
        make: Returns draws by their numbers; the same number must always be the same draw.
        draws: How many without ``rtol``.
        rtol: The relative standard error to reach.
    """
    if rtol is None:
        return (yield from make(0, draws))
    budget = BUDGET * draws
    values = yield from make(0, min(draws, _FIRST))
    while (more := further_draws(values, rtol, budget)) > 0:
        values = values + (yield from make(len(values), more))
    return values


def further_draws(values: Sequence[float], rtol: float, budget: int) -> int:
    """Return how many more draws to make next; 0 if the precision is reached or the budget spent.

    >>> further_draws([1.0, 1.0, 1.0], 0.01, 100)
    0
    >>> further_draws([1.0, 2.0, 3.0], 0.1, 100)
    9
    """
    estimate = mean_of(values, 0)
    if reached(estimate, rtol) or not math.isfinite(estimate.value):
        return 0
    n = len(values)
    target = math.inf
    if estimate.value != 0 and math.isfinite(estimate.stderr):
        target = n * _MARGIN * (estimate.stderr / (rtol * estimate.value)) ** 2
    return max(0, min(math.ceil(min(target, _GROWTH * n)), budget) - n)


def reached(estimate: Estimate, rtol: float) -> bool:
    """Tell whether the standard error is at most ``rtol`` of the value."""
    return estimate.stderr <= rtol * abs(estimate.value)


def judged(estimate: Estimate, rtol: float | None) -> Estimate:
    """Return the estimate, marked as not converged where ``rtol`` was asked for and not reached."""
    if rtol is None or reached(estimate, rtol):
        return estimate
    reason = f"the relative precision {rtol:g} was not reached with {estimate.details.get('draws')} draws"
    return replace(estimate, converged=False, details={**estimate.details, "reason": reason})
