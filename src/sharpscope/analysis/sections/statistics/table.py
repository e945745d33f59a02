"""Every contrast and every comparison as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, group_cells, name_of
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.sections.statistics.data import over_study
from sharpscope.analysis.wording import difference_text


def contrasts_latex(results: StudyResults, contrasts: pd.DataFrame) -> bytes:
    """Return every difference to the reference over the whole study with its tests."""
    rows = []
    for row in records(contrasts):
        told = over_study(row)
        beside = [told[name] for name in ("signs", "p_sign", "settings", "heterogeneity", "detectable")]
        rows.append([*_cells(results, row), *map(escape, beside)])
    header = [*_header(results), "Seeds", r"$p_\mathrm{sign}$", "Settings", r"$p_\mathrm{settings}$", "Detectable"]
    title = (
        "Differences to the reference over the whole study (Hodges-Lehmann; factors of ratios) with 95% intervals that "
        "invert the signed-rank test."
    )
    return booktabs(header, rows, left=3, title=title)


def comparisons_latex(results: StudyResults, comparisons: pd.DataFrame) -> bytes:
    """Return every difference to the reference in each setting with its test."""
    rows = [
        [*group_cells({key: row[key] for key in results.keys}), *_cells(results, row)] for row in records(comparisons)
    ]
    title = (
        "Differences to the reference in each setting (Hodges-Lehmann; factors of ratios) with the 95% intervals that "
        "invert the two-sided exact tests."
    )
    header = [*map(escape, results.keys), *_header(results)]
    return booktabs(header, rows, left=len(results.keys) + 3, title=title)


def _header(results: StudyResults) -> list[str]:
    names = ["Quantity", escape(results.factor.title), "Family"]
    return [*names, "$n$", "Difference", "Effect", "$p$", r"$p_\mathrm{adj}$"]


def _cells(results: StudyResults, row: TableRow) -> list[str]:
    return [
        name_of(results.quantities[row["quantity"]]),
        escape(row[results.factor.name]),
        escape(row["family"]),
        str(row["n"]),
        escape(difference_text(row)),
        escape(numbers.fixed(row["effect"], 2, sign=True)),
        escape(numbers.p_value(row["p"])),
        escape(numbers.p_value(row["p_adjusted"])),
    ]
