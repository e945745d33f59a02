"""The means as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, group_cells, name_of
from sharpscope.analysis.results import StudyResults, nested, records, select, split


def latex(results: StudyResults, levels: pd.DataFrame, comparisons: pd.DataFrame) -> bytes:
    """Return the means of every quantity (rows) at every level (columns), significant differences in bold."""
    rows = []
    for group, part in split(levels, results.keys):
        tests_of = nested(select(comparisons, group), "quantity", results.factor.name)
        for name, of_quantity in part.groupby("quantity", sort=False):
            tests = tests_of.get(str(name), {})
            cells = []
            for row in records(of_quantity):
                text = escape(numbers.with_interval(row["mean"], row["ci_low"], row["ci_high"]))
                significant = tests.get(row[results.factor.name], {}).get("significant", False)
                cells.append(rf"\textbf{{{text}}}" if significant else text)
            rows.append([*group_cells(group), name_of(results.quantities[str(name)]), *cells])
    header = [*map(escape, results.keys), "Quantity", *(escape(results.factor.told(level)) for level in results.levels)]
    title = "Means over seeds with 95% bootstrap intervals; bold: differs from the reference after correction."
    return booktabs(header, rows, left=len(results.keys) + 1, title=title)
