"""The sizes of differences in sharpness, as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.sizes.data import conditions_of, table_rows


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return a row a measure and level: its difference under each condition."""
    rows = [
        [escape(cell) for cell in (row["label"], row["level"], *row["cells"])] for row in table_rows(results, table)
    ]
    header = ["Measure", escape(results.factor.title), *(f"At {told}" for told in conditions_of(table).values())]
    title = "Differences in sharpness to the reference, and where loss and confidence are held equal; 95% intervals."
    return booktabs(header, rows, left=2, title=title)
