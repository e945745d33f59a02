"""What is left of differences at equal confidence, as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.is_it_confidence.data import rows_of, twins_of


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return a row a quantity and level: its difference at the end, and on each twin with its share."""
    rows = []
    for row in rows_of(results, table):
        cells = [cell for twin in row["twins"] for cell in (twin["difference"], twin["retained"])]
        rows.append([escape(cell) for cell in (row["label"], row["level"], row["end"], *cells)])
    header = ["Quantity", escape(results.factor.title), "At the end"]
    header += [cell for told in twins_of(table).values() for cell in (told.capitalize(), "Retained")]
    title = (
        "Differences to the reference at the end, and with the confidence of all networks made equal by a temperature "
        "(with the share of that at the end); 95% intervals over seeds."
    )
    return booktabs(header, rows, left=2, title=title)
