"""An estimate and its interval, returned together."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        n: How many values it rests on.
        value: The estimate; NaN without values.
        low: Lower end; NaN where one value (or none) says nothing about spread.
        high: Upper end.
        level: The share of such intervals that hold the truth, lower than asked where few values allow no more.
    """

    n: int
    value: float
    low: float
    high: float
    level: float
