"""What may be concluded about complexity, and how a share is told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.complexity import asked, moved_by
from sharpscope.analysis.results import StudyResults, TableRow
from sharpscope.store.snapshots import END


def share(row: TableRow) -> str:
    """Return a share with its interval: "71% [60, 80]"; of one that is below zero since nothing is there, "0%"."""
    shown = clipped(row) if math.isfinite(row["share"]) else row
    return numbers.percentage(*(shown[end] for end in ("share", "ci_low", "ci_high")))


def clipped(row: TableRow) -> TableRow:
    """Return a share and its interval as they are shown: an adjusted one may lie outside of 0 to 1."""
    return {**row, **{end: min(max(row[end], 0.0), 1.0) for end in ("share", "ci_low", "ci_high")}}


def unmoved(moves: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the measures of complexity, with the place, of which tests could have found that a level moves them.

    Nothing is concluded of these: where complexity does not differ, sharpness cannot differ by it.
    """
    return {
        (str(name), str(at))
        for (name, at), part in moves.groupby(["complexity", "at"], sort=False)
        if part["reachable"].any() and not part["significant"].any()
    }


def set_aside(results: StudyResults, moves: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Return the pairs of sharpness and complexity that are left to another measure of complexity, and why.

    They are those of which complexity, and not sharpness, moves by a change that leaves the function as it is, where
    the study has a measure that does not, and of which something may be concluded.
    """
    measures, complexities = asked(results)
    found = {(y, c): moved_by(results, y, c) for y in measures for c in complexities}
    never = unmoved(moves)
    better = {y for (y, c), changes in found.items() if not changes and (c, END) not in never}
    return {(y, c): changes for (y, c), changes in found.items() if changes and y in better}


def concluded(results: StudyResults, moves: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table from which something may be concluded."""
    never, others = unmoved(moves), set_aside(results, moves)
    keys = zip(table["measure"], table["complexity"], table["at"], strict=True)
    kept = [(c, at) not in never and (c, END) not in never and (y, c) not in others for y, c, at in keys]
    return table[np.array(kept, dtype=bool)]
