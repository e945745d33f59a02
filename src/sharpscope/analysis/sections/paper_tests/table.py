"""The tests of the paper as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, group_cells, name_of
from sharpscope.analysis.results import StudyResults, records


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return every test, those significant after correction in bold."""
    rows = []
    for row in records(table):
        adjusted = escape(numbers.p_value(row["p_adjusted"]))
        rows.append(
            [
                *group_cells({key: row[key] for key in results.keys}),
                name_of(results.quantities[row["quantity"]]),
                escape(row[results.factor.name]),
                str(row["hypothesis"]),
                str(row["n"]),
                escape(numbers.fixed(row["effect"], 2, sign=True)),
                escape(numbers.p_value(row["p"])),
                rf"\textbf{{{adjusted}}}" if row["significant"] else adjusted,
            ]
        )
    header = [*map(escape, results.keys), "Quantity", escape(results.factor.title), "Hypothesis", "$n$", "Effect"]
    header += ["$p$", r"$p_\mathrm{adj}$"]
    title = "One-sided signed-rank tests, corrected by Benjamini and Yekutieli within each family and level."
    return booktabs(header, rows, left=len(results.keys) + 3, title=title)
