"""The means of every quantity at every level of the factor as the page shows them: text, marks and tooltips."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults, TableRow, describe_group, nested, select
from sharpscope.analysis.statistics import LEVEL
from sharpscope.analysis.tested import ALPHA, BY_JACKKNIFE
from sharpscope.spec import Factor

KINDS = {
    "score": "What the function is worth",
    "sharpness": "How sharp the minimum is",
    "complexity": "How complex the function is",
    "control": "Controls, with which sharpness may move",
    "training": "Training",
}


@dataclass(frozen=True)
class Cell:
    """One value of the table of levels.

    Attributes:
        text: The mean, rounded.
        verdict: "better", "worse", "sharper", "flatter", "higher", "lower", "equal"; "" without comparison.
        significant: Whether the difference is, after correction.
        unconverged: Whether some value did not reach its precision.
        tip: What hovering shows: pairs of a term and its value.
    """

    text: str
    verdict: str = ""
    significant: bool = False
    unconverged: bool = False
    tip: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Strip:
    """Where the levels lie on the scale of one quantity, in hundredths of its width."""

    marks: list[dict[str, Any]]


def level_tables(results: StudyResults, levels: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one table a group: its title and its sections, one a kind of quantity."""
    tables = []
    for group, runs in results.groups:
        factor = results.factor.name
        means, tests = (nested(select(table, group), "quantity", factor) for table in (levels, comparisons))
        sections = []
        for kind, title in KINDS.items():
            rows = [_row(results, name, means[name], tests.get(name, {})) for name in results.of_kind(kind)]
            if rows:
                sections.append({"title": title, "rows": rows})
        for loss in results.losses:
            rows = [_row(results, name, means[name], tests.get(name, {})) for name in results.at(loss)]
            sections.append({"title": f"At matched train loss {loss}", "rows": rows})
        finished = runs.loc[runs["state"] == "done", factor].value_counts()
        counts = {level: int(finished.get(level, 0)) for level in results.levels}
        tables.append({"title": describe_group(group), "sections": sections, "counts": counts})
    return tables


def _row(results: StudyResults, name: str, means: dict[str, TableRow], tests: dict[str, TableRow]) -> dict[str, Any]:
    known = [row for row in means.values() if math.isfinite(row["mean"])]
    # One number of decimals a row, as its middle interval supports, lets the eye compare along the row.
    supported = [numbers.decimals_of(row["mean"], row["ci_low"], row["ci_high"]) for row in known]
    decimals = statistics.median_low(supported) if supported else 0
    cells = [_cell(results.factor, means[level], tests.get(level), decimals) for level in results.levels]
    quantity = results.quantities[name]
    return {
        "quantity": quantity,
        "hint": ", ".join(filter(None, (quantity.unit, quantity.direction))),
        "primary": name in results.primary,
        "cells": cells,
        "strip": _strip(results, known),
    }


def _cell(factor: Factor, mean: TableRow, test: TableRow | None, decimals: int) -> Cell:
    if not math.isfinite(mean["mean"]):
        return Cell(numbers.MISSING, tip=[("Not measured", f"no run of this {factor.noun} has it")])
    tip = [
        ("Mean", numbers.with_interval(mean["mean"], mean["ci_low"], mean["ci_high"])),
        ("SD over runs", numbers.estimate(mean["sd"], 0, mean["sd"] / 5)),
        ("Runs", str(mean["n"])),
    ]
    unconverged = bool(mean["unconverged"])
    if unconverged:
        tip.append(("Did not converge", f"{mean['unconverged']} of these"))
    text = numbers.fixed(mean["mean"], decimals)
    if test is None or not test["n"]:
        return Cell(text, unconverged=unconverged, tip=tip)
    tip += comparison_terms(factor, test)
    return Cell(text, str(test["verdict"]), bool(test["significant"]), unconverged, tip)


def comparison_terms(factor: Factor, test: TableRow) -> list[tuple[str, str]]:
    """Return one comparison as pairs of a term and its value."""
    difference = numbers.change(test["scale"], test["difference"], test["ci_low"], test["ci_high"])
    family = f"{test['family']} family, {test['correction']}"
    terms = [
        (f"{'Ratio' if test['scale'] == 'ratio' else 'Difference'} to {factor.told(factor.reference)}", difference),
        *_limits(test),
        ("p (two-sided, exact)", numbers.p_value(test["p"])),
        (f"p adjusted ({family})", numbers.p_value(test["p_adjusted"])),
        ("Rank-biserial effect", numbers.fixed(test["effect"], 2, sign=True)),
        ("Paired seeds", str(test["n"])),
    ]
    if test["p_adjusted_smallest"] > ALPHA:
        terms.append(("Could be significant", f"no: smallest is {numbers.p_value(test['p_adjusted_smallest'])}"))
    if test["method"] == BY_JACKKNIFE:
        terms.append(("Method", "test of jackknife values, since seeds share pairs"))
    return terms


def _limits(test: TableRow) -> list[tuple[str, str]]:
    """Return what a reader must know of a difference: an interval below its level, a mean on the other side."""
    terms = []
    if 0 < test["ci_level"] < LEVEL:
        terms.append(("Level of its interval", f"{test['ci_level']:.1%}, no more with these seeds"))
    same = 1.0 if test["scale"] == "ratio" else 0.0
    if (test["mean_difference"] - same) * test["effect"] < 0:
        mean = numbers.change(test["scale"], test["mean_difference"], math.nan, math.nan)
        terms.append(("Mean of the differences", f"{mean}, turned by a few seeds that differ much"))
    return terms


def _strip(results: StudyResults, known: list[TableRow]) -> Strip | None:
    """Return where means and intervals lie between the least and the greatest end."""
    ends = [
        [row[end] if math.isfinite(row[end]) else row["mean"] for end in ("mean", "ci_low", "ci_high")] for row in known
    ]
    least = min((low for _, low, _ in ends), default=0.0)
    span = max((high for *_, high in ends), default=0.0) - least
    if len(ends) < 2 or not span > 0:
        return None
    styles, marks = styles_of(results.factor), []
    for row, values in zip(known, ends, strict=True):
        at, low, high = (round(100 * (value - least) / span, 1) for value in values)
        marks.append({"color": styles[row[results.factor.name]].color, "at": at, "low": low, "high": high})
    return Strip(marks)
