"""Every comparison as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, group_cells, name_of
from sharpscope.analysis.results import StudyResults, records


def latex(results: StudyResults, comparisons: pd.DataFrame) -> bytes:
    """Return every difference to the reference with its test."""
    rows = [
        [
            *group_cells({key: row[key] for key in results.keys}),
            name_of(results.quantities[row["quantity"]]),
            escape(row[results.factor.name]),
            escape(row["family"]),
            str(row["n"]),
            escape(numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True)),
            escape(numbers.fixed(row["effect"], 2, sign=True)),
            escape(numbers.p_value(row["p"])),
            escape(numbers.p_value(row["p_adjusted"])),
        ]
        for row in records(comparisons)
    ]
    header = [
        *map(escape, results.keys),
        "Quantity",
        escape(results.factor.title),
        "Family",
        "$n$",
        "Difference",
        "Effect",
    ]
    header += ["$p$", r"$p_\mathrm{adj}$"]
    title = (
        "Differences to the reference (Hodges-Lehmann) with the 95% intervals that invert the two-sided exact tests."
    )
    return booktabs(header, rows, left=len(results.keys) + 3, title=title)
