"""Levels under corruption as tables."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.conditions import CALIBRATED_VALUES
from sharpscope.analysis.latex import booktabs, escape, to_csv
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.robustness.data import Accuracies
from sharpscope.analysis.sections.robustness.heat import HeatMap
from sharpscope.analysis.sections.robustness.summary import Summary
from sharpscope.analysis.statistics import Interval
from sharpscope.safety.by_condition import VALUES


def summary_cells(found: Accuracies, told: list[Summary]) -> list[dict[str, Any]]:
    """Return the summaries as text, a row a level; accuracies and their differences are in percent."""
    return [
        {
            "level": one.level,
            "accuracy": _percent(one.accuracy),
            "difference": _percent(one.difference, sign=True),
            "range": _range(one),
            "error": _plain(one.error),
            "relative": _plain(one.relative),
            "effective": _percent(one.effective, sign=True),
            "compared": f"{len(found.corruptions) - len(one.alike)} of {len(found.corruptions)}",
        }
        for one in told
    ]


def differences_csv(results: StudyResults, maps: list[HeatMap]) -> bytes:
    """Return a row a level, corruption and severity: the difference of accuracies to the reference."""
    rows = [
        {
            results.factor.name: one.level,
            "family": one.families[index],
            "corruption": name,
            "severity": severity,
            "trained_on_the_like": one.alike[index],
            "n": cell.n,
            "difference": cell.value,
            "ci_low": cell.low,
            "ci_high": cell.high,
            "ci_level": cell.level,
        }
        for one in maps
        for index, name in enumerate(one.corruptions)
        for severity, cell in zip(one.severities, one.cells[index], strict=True)
        if cell is not None
    ]
    named = ["family", "corruption", "severity", "trained_on_the_like"]
    columns = [results.factor.name, *named, "n", "difference", "ci_low", "ci_high", "ci_level"]
    return to_csv(pd.DataFrame(rows, columns=columns))


def severities_csv(results: StudyResults) -> bytes:
    """Return a row a setting, level, family and severity: means over runs of all that is kept of a case.

    Those of calibrated twins are over the runs that have one, which are counted by themselves.
    """
    table = results.arranged(results.conditions)
    by = [*results.keys, results.factor.name, "kind", "family", "severity"]
    groups = table.groupby(by, sort=False, dropna=False)
    of_twins = [name for name in CALIBRATED_VALUES.values() if table[name].notna().any()]
    found = groups[[*VALUES, *of_twins]].mean().assign(runs=groups["run_id"].nunique())
    if of_twins:
        calibrated = table.assign(run_id=table["run_id"].where(table[of_twins[0]].notna()))
        found["runs_calibrated"] = calibrated.groupby(by, sort=False, dropna=False)["run_id"].nunique()
    return to_csv(found.reset_index())


def latex(results: StudyResults, found: Accuracies, told: list[Summary]) -> bytes:
    """Return a row a level: its accuracy under corruption and its errors beside those of the reference."""
    names = ("accuracy", "difference", "range", "error", "relative", "effective", "compared")
    rows = [[escape(row[name]) for name in ("level", *names)] for row in summary_cells(found, told)]
    header = [escape(results.factor.title), r"Accuracy (\%)", "Difference", "Without one family", "mCE"]
    title = (
        "Accuracy under corruption, by corruptions that no like of was trained on: its difference to the reference in "
        "percentage points, the range of that as one family is left out, the mean corruption error and the relative "
        "one as multiples of the reference's, and the effective robustness; 95% intervals over seeds."
    )
    return booktabs([*header, "Relative mCE", "Effective", "Corruptions"], rows, left=1, title=title)


def _percent(found: Interval, *, sign: bool = False) -> str:
    return numbers.with_interval(*(100 * value for value in (found.value, found.low, found.high)), sign=sign)


def _plain(found: Interval) -> str:
    return numbers.with_interval(found.value, found.low, found.high)


def _range(one: Summary) -> str:
    if not math.isfinite(one.least):
        return numbers.MISSING
    return " to ".join(numbers.fixed(100 * value, 1, sign=True) for value in (one.least, one.most))
