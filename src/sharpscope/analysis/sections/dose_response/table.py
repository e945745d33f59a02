"""Dose and response, as LaTeX."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.told import change, place_told
from sharpscope.analysis.explanations.told_remains import share_text
from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults, TableRow, records

HEADER = ("Quantity", "At", "End to end", "Retained", "Mean tau", "Up", "p adjusted", "Given the loss")


def cells_of(results: StudyResults, row: TableRow) -> list[str]:
    """Return a row as text, a cell for each of ``HEADER``."""
    partial = numbers.correlation(row["partial"], row["partial_low"], row["partial_high"])
    return [
        results.quantities[row["quantity"]].label,
        place_told(row["at"]),
        change(row) if math.isfinite(row["change"]) else numbers.MISSING,
        share_text(row) or numbers.MISSING,
        numbers.correlation(row["tau"], row["tau_low"], row["tau_high"]),
        f"{row['rising']} of {row['n']}",
        numbers.p_value(row["p_adjusted"]),
        partial if row["partial_n"] > 0 else numbers.MISSING,
    ]


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return one row a quantity and moment."""
    rows = [[escape(cell) for cell in cells_of(results, row)] for row in records(table)]
    title = f"From end to end of {table['h'].iloc[0]}; 95% intervals over seeds."
    return booktabs([escape(name) for name in HEADER], rows, left=2, title=escape(title))
