"""The runs of a level whose pictures of the plane can be laid over one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sharpscope.analysis.drawing.plane import Region
from sharpscope.analysis.results import StudyResults, select
from sharpscope.store.record import PLANE


@dataclass(frozen=True)
class Pictured:
    """Runs of one level in one setting with pictures of the same part of the plane.

    Attributes:
        group: The setting.
        level: The level.
        runs: Their rows.
        arrays: Their pictures, in the same order.
    """

    group: dict[str, object]
    level: str
    runs: pd.DataFrame
    arrays: list[dict[str, np.ndarray]]

    @property
    def region(self) -> Region:
        """What is drawn."""
        return Region.of(self.arrays[0]["region"])


def pictured(results: StudyResults, needs: str, alike: str) -> Iterator[Pictured]:
    """Yield, for each level in each setting, the runs whose pictures can be laid over one another.

    Args:
        results: Of the study.
        needs: An array that a run's picture must have.
        alike: An array that must be equal: runs in which it is not that of the first are left out.
    """
    arrays, _ = results.arrays(PLANE)
    having = {run: found for run, found in arrays.items() if needs in found}
    for group, _ in results.groups if having else ():
        for level in results.levels:
            rows = select(results.runs, {**group, results.factor.name: level})
            rows = rows[rows["run_id"].isin(having.keys())]
            found = [having[run] for run in rows["run_id"]]
            kept = [np.array_equal(each[alike], found[0][alike]) for each in found]
            if kept:
                yield Pictured(group, level, rows[kept], [each for each, keep in zip(found, kept, strict=True) if keep])
