"""How closely the runs match, as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import booktabs, escape, group_cells
from sharpscope.analysis.results import StudyResults, records, split
from sharpscope.analysis.sections.matched_loss.data import MATCHED, with_ranges


def latex(results: StudyResults, closeness: pd.DataFrame) -> bytes:
    """Return how closely the runs match each train loss: steps until then, losses there and at the end."""
    rows = []
    for cell, part in split(closeness, [*results.keys, MATCHED]):
        told = zip(*(with_ranges(part, name) for name in ("step", "loss", "loss_at_end")), strict=True)
        for row, texts in zip(records(part), told, strict=True):
            labels = [*group_cells(cell), escape(row[results.factor.name]), f"{row['reached']} of {row['runs']}"]
            rows.append([*labels, *map(escape, texts)])
    header = [
        *map(escape, results.keys),
        "Matched loss",
        escape(results.factor.title),
        "Runs",
        "Steps",
        "Train loss there",
        "At the end",
    ]
    title = "How closely the runs match each train loss: means over seeds, with the least and the greatest value."
    return booktabs(header, rows, left=len(results.keys) + 2, title=title)
