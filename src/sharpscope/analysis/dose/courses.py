"""The course of a quantity along the levels of an ordered factor, seed by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.statistics import StudyWide, study_wide
from sharpscope.analysis.statistics.course import counted_levels, courses_of_seeds
from sharpscope.analysis.statistics.trend import LEAST_LEVELS, bends, complete, rank_trends, slopes
from sharpscope.analysis.values import Scaled, Values

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Course:
    """One quantity along the levels.

    Attributes:
        name: The column.
        axis: The levels.
        scaled: How its values are compared.
        values: On that scale, shape ``[settings, levels, seeds]``; NaN where there is no run, or no number.
        counted: Which levels count, shape ``[levels]``; see ``counted_levels``.
    """

    name: str
    axis: Axis
    scaled: Scaled
    values: np.ndarray
    counted: np.ndarray

    @property
    def enough(self) -> bool:
        """Whether it has a course: three levels that count."""
        return int(self.counted.sum()) >= LEAST_LEVELS

    @property
    def line(self) -> np.ndarray:
        """The levels that count and have a position, between which slopes are told, shape ``[levels]``."""
        return self.counted & self.axis.on_line

    @property
    def left_out(self) -> list[str]:
        """The levels that do not count though a seed has them, or none has."""
        return [label for label, counts in zip(self.axis.labels, self.counted, strict=True) if not counts]

    @cached_property
    def trends(self) -> StudyWide:
        """Kendall's tau-b with the order of the levels, one a seed: its mean over settings."""
        return study_wide(rank_trends(self.values[:, self.counted]))

    @cached_property
    def slopes(self) -> StudyWide:
        """The change from the first to the last level that has a position, one a seed."""
        return self.along(self.line, slopes)

    @cached_property
    def ends(self) -> StudyWide:
        """How far the last level that has a position lies above the first, one a seed: of those that have a slope."""
        return self.along(self.line, _between_ends)

    @cached_property
    def bends(self) -> StudyWide:
        """How far the middle lies above the straight line between the ends, one a seed."""
        return self.along(self.line, bends)

    def along(self, line: np.ndarray, statistic: Statistic) -> StudyWide:
        """Return a statistic of values and positions over some of the levels, one a seed: its mean over settings.

        Args:
            line: Which levels, all with a position, shape ``[levels]``.
            statistic: Of values ``[settings, levels, seeds]`` and positions from 0 to 1.
        """
        if line.sum() < LEAST_LEVELS:
            return study_wide(np.full((self.values.shape[0], self.values.shape[2]), np.nan))
        return study_wide(statistic(self.values[:, line], self.axis.scaled(line)))

    @cached_property
    def by_seed(self) -> np.ndarray:
        """The values averaged over settings, shape ``[levels, seeds]``; NaN where a seed lacks one of them."""
        return courses_of_seeds(self.values)

    @cached_property
    def means(self) -> np.ndarray:
        """The means over seeds of the levels that count, as they are compared, shape ``[levels]``; NaN elsewhere."""
        known = np.where(self.counted[:, None], self.by_seed, np.nan)
        count = np.isfinite(known).sum(axis=1)
        return np.divide(np.nansum(known, axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)


def _between_ends(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(complete(values), values[..., -1, :] - values[..., 0, :], np.nan)


def course_of(values: Values, axis: Axis, name: str, scaled: Scaled | None = None) -> Course:
    """Return the course of one quantity on a scale or, where it is None, on its own; of pairs, of jackknife values."""
    scaled = scaled or values.scaled(name)
    places = [values.levels.index(level) for level in axis.levels]
    with np.errstate(invalid="ignore"):  # jackknife values of ratios may lie below zero
        found = scaled.forward(values.independent(name)[:, places])
    return Course(name, axis, scaled, found, counted_levels(found))
