"""What networks have made of known functions of the plane, by level of the factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sharpscope.analysis.drawing.pictured import pictured
from sharpscope.analysis.drawing.plane import Region
from sharpscope.analysis.results import StudyResults

# Decades that the colors of errors span.
_DECADES = 3
# Lines of equal height.
_LINES = 7


@dataclass(frozen=True)
class Panel:
    """What the runs of one level in one setting have learned.

    Attributes:
        group: The setting.
        level: The level.
        region: What is drawn.
        target: What the targets are values of, ``[rows, columns]``, rows from below.
        fits: What each run says, ``[runs, rows, columns]``.
        seed: The seed of the first run.
        r2: The mean R2 of the runs on the test set.
    """

    group: dict[str, object]
    level: str
    region: Region
    target: np.ndarray
    fits: np.ndarray
    seed: int
    r2: float

    @property
    def seeds(self) -> int:
        """How many runs there are."""
        return len(self.fits)

    @cached_property
    def error(self) -> np.ndarray:
        """The root mean square error over the runs at each point."""
        return np.sqrt(np.mean((self.fits - self.target) ** 2, axis=0))

    @property
    def low(self) -> float:
        """The least value of the target."""
        return float(self.target.min())

    @property
    def high(self) -> float:
        """The largest value of the target."""
        return float(self.target.max())

    def shade(self, values: np.ndarray) -> np.ndarray:
        """Return where values lie between the least and the largest of the target, from 0 to 1.

        By the square root, since most of these functions are bowls: far from their minimum they rise more and more.
        """
        span = self.high - self.low
        return np.sqrt(np.clip((values - self.low) / span, 0, 1)) if span else np.zeros_like(values)

    @property
    def heights(self) -> list[float]:
        """Heights at equal distances of shade, for lines."""
        return [self.low + (self.high - self.low) * (k / (_LINES + 1)) ** 2 for k in range(1, _LINES + 1)]


@dataclass(frozen=True)
class ErrorScale:
    """The one scale of the errors of all panels, by their logarithm: three decades.

    Attributes:
        high: Where it ends.
    """

    high: float

    @classmethod
    def of(cls, panels: list[Panel]) -> ErrorScale:
        """Return the scale that ends above nearly all errors."""
        largest = max(float(np.quantile(panel.error, 0.995)) for panel in panels)
        return cls(largest if largest > 0 else 1.0)

    @property
    def low(self) -> float:
        """Where it begins."""
        return self.high * 10.0**-_DECADES

    def shade(self, error: np.ndarray) -> np.ndarray:
        """Return where errors lie on the scale, from 0 to 1."""
        return 1 + np.log10(np.clip(error, self.low, self.high) / self.high) / _DECADES

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The powers of ten on it: where each lies, in hundredths, and its text."""
        top = math.floor(math.log10(self.high))
        powers = [10.0**power for power in range(top - _DECADES + 1, top + 1)]
        return [(100 * float(self.shade(np.array(power))), f"{power:g}") for power in powers]


def panels_of(results: StudyResults) -> list[Panel]:
    """Return a panel for each level in each setting whose runs have surfaces and one known target."""
    return [
        Panel(
            group=found.group,
            level=found.level,
            region=found.region,
            target=found.arrays[0]["target"].astype(float),
            fits=np.stack([each["fit"] for each in found.arrays]).astype(float),
            seed=int(found.runs["seed"].iloc[0]),
            r2=float(found.runs["test_r2"].mean()),
        )
        for found in pictured(results, needs="target", alike="target")
    ]
