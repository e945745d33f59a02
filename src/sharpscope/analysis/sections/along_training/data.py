"""How what is watched goes along the trainings of each level of the factor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.results import Quantity, StudyResults, select
from sharpscope.store.record import TRAJECTORY

LOSS = "train_loss"
# More marks than this on the axis of steps stand in each other's way.
_MARKS = 7


@dataclass(frozen=True)
class Line:
    """One quantity of the runs of one level.

    Attributes:
        level: The level.
        steps: After which steps, rising.
        low: The least of the runs there.
        middle: Their median.
        high: The largest.
        seeds: How many runs there are.
    """

    level: str
    steps: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    seeds: int


@dataclass(frozen=True)
class Panel:
    """One quantity in one setting.

    Attributes:
        quantity: Its facts.
        group: The setting.
        lines: A line for each level.
    """

    quantity: Quantity
    group: dict[str, object]
    lines: list[Line]

    @property
    def values(self) -> Scale:
        """The axis of values."""
        return Scale.of(np.concatenate([part for line in self.lines for part in (line.low, line.high)]))


@dataclass(frozen=True)
class StepAxis:
    """The axis of steps, by the logarithm of one more than their number, so that the initialization has a place.

    Attributes:
        steps: All that are drawn, rising.
    """

    steps: tuple[int, ...]

    @classmethod
    def of(cls, panels: list[Panel]) -> StepAxis:
        """Return the axis of all panels."""
        return cls(tuple(sorted({int(step) for panel in panels for line in panel.lines for step in line.steps})))

    def at(self, step: float) -> float:
        """Return where a step lies, in hundredths of the axis.

        >>> StepAxis((0, 9, 99)).at(9)
        50.0
        """
        last = math.log10(1 + self.steps[-1])
        return round(100 * math.log10(1 + step) / last, 2) if last else 50.0

    @property
    def marks(self) -> list[int]:
        """The steps that have a mark: all, or where these are many 0 and powers of ten."""
        if len(self.steps) <= _MARKS:
            return list(self.steps)
        return [0, *(10**power for power in range(1 + int(math.log10(max(self.steps[-1], 1)))))]


def panels_of(results: StudyResults) -> list[Panel]:
    """Return a panel for the train loss and for each quantity that was watched, in each setting."""
    tables, _ = results.arrays(TRAJECTORY)
    loss = [results.quantities[LOSS]] if LOSS in results.quantities else []
    panels = []
    for quantity in (*loss, *results.watched) if tables else ():
        for group, _ in results.groups:
            lines = [_line(results, tables, quantity.name, group, level) for level in results.levels]
            drawn = [line for line in lines if line is not None]
            if drawn:
                panels.append(Panel(quantity, group, drawn))
    return panels


def _line(
    results: StudyResults, tables: dict[str, dict[str, np.ndarray]], name: str, group: dict[str, object], level: str
) -> Line | None:
    rows = select(results.runs, {**group, results.factor.name: level})
    by_step: dict[int, list[float]] = {}
    found = [tables[run] for run in rows["run_id"] if run in tables and name in tables[run]]
    for table in found:
        for step, value in zip(table["step"], table[name], strict=True):
            if math.isfinite(value):
                by_step.setdefault(int(step), []).append(float(value))
    if not by_step:
        return None
    steps = sorted(by_step)
    low, middle, high = (
        np.array([summary(by_step[step]) for step in steps]) for summary in (np.min, np.median, np.max)
    )
    return Line(level, np.array(steps), low, middle, high, len(found))
