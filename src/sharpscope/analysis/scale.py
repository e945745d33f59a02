"""Where values lie on an axis, and the marks that tell them: for figures that the page draws by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis import numbers

_LOG_FROM = 20.0  # a positive quantity that spans more than this factor is drawn on a logarithmic axis
_TICKS = 4  # about as many marks as a narrow axis has room for


def spans_decades(values: np.ndarray) -> bool:
    """Return whether a quantity is positive and spans so much that a logarithmic axis shows it better."""
    values = values[np.isfinite(values)]
    return bool(len(values) > 1 and values.min() > 0 and values.max() / values.min() > _LOG_FROM)


@dataclass(frozen=True)
class Scale:
    """An axis from the least of some values to the greatest.

    Attributes:
        low: The least value.
        high: The greatest one.
        logarithmic: Whether equal ratios are equally far apart, instead of equal differences.
    """

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Return the axis that suits finite values."""
        return cls(float(values.min()), float(values.max()), spans_decades(values))

    def at(self, value: float) -> float:
        """Return where a value lies, in hundredths of the axis; its middle where all values are equal.

        >>> Scale(0.0, 4.0, False).at(1.0), Scale(0.01, 1.0, True).at(0.1)
        (25.0, 50.0)
        """
        first, last, here = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round(100 * (here - first) / (last - first), 2) if last > first else 50.0

    def ticks(self) -> list[tuple[float, str]]:
        """Return a few round values on the axis: where each lies, and its text.

        >>> Scale(0.13, 0.28, False).ticks()
        [(13.33, '0.15'), (46.67, '0.2'), (80.0, '0.25')]
        >>> [text for _, text in Scale(0.002, 9.0, True).ticks()]
        ['0.01', '0.1', '1']
        """
        values = self._decades() if self.logarithmic else self._steps()
        return [(self.at(value), numbers.plain(value)) for value in values]

    def _steps(self) -> list[float]:
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / _TICKS
        decade = 10.0 ** math.floor(math.log10(rough))
        step = decade * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * decade >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        # Rounded, since 3 * 0.1 is not what a reader expects to see.
        return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        within = [10.0**power for power in range(first, last + 1) if self.low <= 10.0**power <= self.high]
        if len(within) > 2:
            return within[:: math.ceil(len(within) / _TICKS)]
        finer = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        within = [value for value in finer if self.low <= value <= self.high]
        return within[:: math.ceil(len(within) / _TICKS)]
