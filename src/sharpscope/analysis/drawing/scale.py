"""Where values lie on an axis, and the marks that tell them; Matplotlib finds these for all figures and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from sharpscope.analysis import numbers

_LOG_FROM = 20.0  # a positive quantity that spans more than this factor is drawn on a logarithmic axis
_TICKS = 4  # about as many marks as a narrow axis has room for


def spans_decades(values: np.ndarray) -> bool:
    """Return whether a quantity is positive and spans so much that a logarithmic axis shows it better."""
    values = values[np.isfinite(values)]
    return bool(len(values) > 1 and values.min() > 0 and values.max() / values.min() > _LOG_FROM)


def suits_logarithm(values: np.ndarray, *, ratio: bool) -> bool:
    """Return whether values are positive, and are compared by their ratio or span decades."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and (ratio or spans_decades(known)))


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
        return [(self.at(value), text) for value, text in marks(self) if self.low <= value <= self.high]


def locator(scale: Scale) -> Locator:
    """Return what finds the few round values that mark an axis."""
    # Below a factor of 5 there may be less than two of 1, 2, 5, 10 on a logarithmic axis, above 40 more than there is
    # room for.
    if not scale.logarithmic or scale.high < 5 * scale.low:
        return MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10])
    steps = (1.0,) if scale.high > 100 * scale.low else (1.0, 3.0) if scale.high > 40 * scale.low else (1.0, 2.0, 5.0)
    return LogLocator(subs=steps, numticks=_TICKS + 1)


def marks(scale: Scale) -> list[tuple[float, str]]:
    """Return the marks of an axis, and those next to its ends: the value of each, and its text."""
    if scale.high <= scale.low:
        return [(scale.low, numbers.plain(scale.low))]
    values = locator(scale).tick_values(scale.low, scale.high)
    return [(float(value), numbers.plain(value)) for value in values if value > 0 or not scale.logarithmic]
