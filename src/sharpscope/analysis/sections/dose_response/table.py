"""Dose and response, as LaTeX."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.sizes import correlation_told, size_cell, tau_told
from sharpscope.analysis.dose.told import place_told
from sharpscope.analysis.explanations.told_remains import share_text
from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults, TableRow, by, records
from sharpscope.analysis.tested import LEAST_SEEDS
from sharpscope.store.snapshots import END

HEADER = ("Quantity", "At", "End to end", "Retained", "Mean tau", "Up", "p adjusted", "Given the loss")


def rows_of(results: StudyResults, table: pd.DataFrame) -> list[list[str]]:
    """Return the table as text: a row a quantity and moment, a cell for each of ``HEADER``."""
    ends = by(table[table["at"] == END], "quantity")
    return [_cells(results, row, ends.get(row["quantity"], row)) for row in records(table)]


def _cells(results: StudyResults, row: TableRow, end: TableRow) -> list[str]:
    partial = correlation_told(row["partial"], row["partial_low"], row["partial_high"], row["partial_n"])
    share = share_text(row) if row["joint_n"] >= LEAST_SEEDS else numbers.percent(row["retained"])
    return [
        results.quantities[row["quantity"]].label,
        place_told(row["at"]),
        size_cell(row, end) if math.isfinite(row["change"]) else numbers.MISSING,
        share or numbers.MISSING,
        tau_told(row),
        f"{row['rising']} of {row['n']}",
        numbers.p_value(row["p_adjusted"]),
        partial if row["partial_n"] > 0 else numbers.MISSING,
    ]


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return one row a quantity and moment."""
    rows = [[escape(cell) for cell in row] for row in rows_of(results, table)]
    title = f"From end to end of {table['h'].iloc[0]}; 95% intervals over seeds."
    return booktabs([escape(name) for name in HEADER], rows, left=2, title=escape(title))
