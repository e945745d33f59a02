"""The report's tables as its page shows them: text, marks and tooltips, worked out before the template."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.comparisons import ALPHA, BY_JACKKNIFE
from sharpscope.analysis.correlations import POOLED, WITHIN, outcomes, outcomes_at
from sharpscope.analysis.findings import excludes_zero
from sharpscope.analysis.palette import looks
from sharpscope.analysis.reliability import aggregate, expected_calibration_error
from sharpscope.analysis.results import Record, StudyResults, by, describe_group, records, select, split
from sharpscope.analysis.statistics import LEVEL

KINDS = {
    "score": "What the function is worth",
    "sharpness": "How sharp the minimum is",
    "complexity": "How complex the function is",
    "control": "Controls, with which sharpness may move",
    "training": "Training",
}


@dataclass(frozen=True)
class Cell:
    """One value of the table of regimes.

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
    """Where the regimes lie on the scale of one quantity, in hundredths of its width."""

    marks: list[dict[str, Any]]


def regime_tables(results: StudyResults, regimes: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one table a group: its title and its sections, one a kind of quantity."""
    tables = []
    for group, runs in results.groups():
        means, tests = select(regimes, group), select(comparisons, group)
        sections = []
        for kind, title in KINDS.items():
            rows = [_row(results, name, means, tests) for name in results.of_kind(kind)]
            if rows:
                sections.append({"title": title, "rows": rows})
        for level in results.levels:
            rows = [_row(results, name, means, tests) for name in results.at(level)]
            sections.append({"title": f"At matched train loss {level}", "rows": rows})
        finished = runs[runs["state"] == "done"].groupby("regime").size()
        counts = {regime: int(finished.get(regime, 0)) for regime in results.regimes}
        tables.append({"title": describe_group(group), "sections": sections, "counts": counts})
    return tables


def _row(results: StudyResults, name: str, means: pd.DataFrame, tests: pd.DataFrame) -> dict[str, Any]:
    means = means[means["quantity"] == name]
    known = means[means["mean"].notna()]
    # One number of decimals a row, as its middle interval supports, lets the eye compare along the row.
    supported = [numbers.decimals_of(*row) for row in known[["mean", "ci_low", "ci_high"]].to_numpy(float)]
    decimals = statistics.median_low(supported) if supported else 0
    mean_of, test_of = by(means, "regime"), by(tests[tests["quantity"] == name], "regime")
    cells = [_cell(mean_of[regime], test_of.get(regime), decimals) for regime in results.regimes]
    quantity = results.quantities[name]
    return {
        "quantity": quantity,
        "hint": ", ".join(filter(None, (quantity.unit, quantity.direction))),
        "primary": name in results.primary,
        "cells": cells,
        "strip": _strip(results, known),
    }


def _cell(mean: Record, test: Record | None, decimals: int) -> Cell:
    if not math.isfinite(mean["mean"]):
        return Cell(numbers.MISSING, tip=[("Not measured", "no run of this regime has it")])
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
    tip += comparison_terms(test)
    return Cell(text, str(test["verdict"]), bool(test["significant"]), unconverged, tip)


def comparison_terms(test: Record) -> list[tuple[str, str]]:
    """Return one comparison as pairs of a term and its value."""
    difference = numbers.with_interval(test["difference"], test["ci_low"], test["ci_high"], sign=True)
    family = f"{test['family']} family, {test['correction']}"
    terms = [
        (f"Difference to {test['reference']}", difference),
        *_limits(test),
        ("p (two-sided, exact)", numbers.p_value(test["p"])),
        (f"p adjusted ({family})", numbers.p_value(test["p_adjusted"])),
        ("Rank-biserial effect", numbers.fixed(test["effect"], 2, sign=True)),
        ("Paired seeds", str(test["n"])),
    ]
    if math.isfinite(test["p_paper_adjusted"]):
        terms.append(("Paper’s scheme, p adjusted", numbers.p_value(test["p_paper_adjusted"])))
    if test["p_adjusted_smallest"] > ALPHA:
        terms.append(("Could be significant", f"no: smallest is {numbers.p_value(test['p_adjusted_smallest'])}"))
    if test["method"] == BY_JACKKNIFE:
        terms.append(("Method", "signed-rank test of jackknife values, since seeds share pairs"))
    return terms


def _limits(test: Record) -> list[tuple[str, str]]:
    """Return what a reader must know of a difference: an interval below its level, a mean on the other side."""
    terms = []
    if 0 < test["ci_level"] < LEVEL:
        terms.append(("Level of its interval", f"{test['ci_level']:.1%}, no more with these seeds"))
    if test["mean_difference"] * test["effect"] < 0:
        mean = numbers.estimate(test["mean_difference"], test["ci_low"], test["ci_high"], sign=True)
        terms.append(("Mean of the differences", f"{mean}, turned by a few seeds that differ much"))
    return terms


def _strip(results: StudyResults, known: pd.DataFrame) -> Strip | None:
    """Return where means and intervals lie between the least and the greatest end."""
    ends = known.assign(low=known["ci_low"].fillna(known["mean"]), high=known["ci_high"].fillna(known["mean"]))
    least, span = ends["low"].min(), ends["high"].max() - ends["low"].min()
    if len(ends) < 2 or not span > 0:
        return None
    styles = looks(results.regimes)
    marks = []
    for row in records(ends):
        at, low, high = (round(100 * (row[end] - least) / span, 2) for end in ("mean", "low", "high"))
        marks.append({"color": styles[row["regime"]].color, "at": at, "low": low, "high": high})
    return Strip(marks)


def correlation_tables(results: StudyResults, correlations: pd.DataFrame) -> list[dict[str, Any]]:
    """Return measures (rows) by outcomes (columns) with the pooled and the within-regime coefficient.

    The first table is about the end of training, each further one about a matched train loss.
    """
    tables = []
    for level in ("", *results.levels):
        columns = outcomes(results, level)
        rows = []
        for measure in results.measures(level):
            part = correlations[correlations["measure"] == measure]
            pooled, within = (by(part[part["scope"] == scope], "quantity") for scope in (POOLED, WITHIN))
            cells = [_correlation_cell(pooled[outcome], within[outcome]) for outcome in columns]
            rows.append({"label": results.quantities[measure].short_label, "cells": cells})
        if rows and columns:
            title = f"At matched train loss {level}" if level else ""
            labels = [results.quantities[name].label for name in columns]
            tables.append({"title": title, "outcomes": labels, "rows": rows})
    return tables


def _correlation_cell(pooled: Record, within: Record) -> dict[str, Any]:
    note = ""
    if excludes_zero(pooled) and not excludes_zero(within):
        note = "between"
    elif excludes_zero(pooled) and pooled["spearman"] * within["spearman"] < 0:
        note = "reversed"
    rho = pooled["spearman"]
    return {
        "pooled": numbers.fixed(rho, 2),
        "within": numbers.fixed(within["spearman"], 2),
        "strength": round(abs(rho), 2) if math.isfinite(rho) else 0,
        "sign": "none" if not math.isfinite(rho) else "positive" if rho > 0 else "negative",
        "note": note,
        "tip": [
            ("Pooled ρ", numbers.correlation(rho, pooled["ci_low"], pooled["ci_high"])),
            ("Within regimes ρ", numbers.correlation(within["spearman"], within["ci_low"], within["ci_high"])),
            ("Kendall τ, pooled", numbers.fixed(pooled["kendall"], 2)),
            ("Runs", str(pooled["n"])),
        ],
    }


def reliability_panels(results: StudyResults) -> list[dict[str, Any]]:
    """Return one set of panels a group: for each regime its bins put together over seeds."""
    styles = looks(results.regimes)
    sets = []
    for group, _ in results.groups():
        panels = []
        for regime in results.regimes:
            rows = select(results.reliability, {**group, "regime": regime})
            if rows.empty or not rows["count"].sum():
                continue
            bins = aggregate(rows)
            panels.append(
                {
                    "regime": regime,
                    "color": styles[regime].color,
                    "error": f"{expected_calibration_error(bins):.3f}",
                    "bins": records(bins.round(4)),
                }
            )
        if panels:
            sets.append({"title": describe_group(group), "panels": panels})
    return sets


def family_table(results: StudyResults, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each family of tests is and could find."""
    rows = []
    # Sorted by name, the primary family comes before the secondary one.
    tested = comparisons[comparisons["p"].notna()].sort_values("family", kind="stable")
    for cell, tests in split(tested, [*results.keys, "family"]):
        reachable = tests["p_adjusted_smallest"].min()
        rows.append(
            {
                "group": describe_group({key: cell[key] for key in results.keys}),
                "family": cell["family"],
                "correction": tests["correction"].iloc[0],
                "quantities": tests["quantity"].nunique(),
                "tests": len(tests),
                "significant": int(tests["significant"].sum()),
                "smallest": numbers.p_value(tests["p_smallest"].min()),
                "reachable": numbers.p_value(reachable),
                "can": bool(reachable <= ALPHA),
                "blocked": int((tests["p_adjusted_smallest"] > ALPHA).sum()),
            }
        )
    return rows


def all_comparisons(results: StudyResults, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every comparison as text, for the long table."""
    return [
        {
            "group": describe_group({key: row[key] for key in results.keys}),
            "label": results.quantities[row["quantity"]].label,
            "regime": row["regime"],
            "n": row["n"],
            "difference": numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True),
            "effect": numbers.fixed(row["effect"], 2, sign=True),
            "p": numbers.p_value(row["p"]),
            "p_adjusted": numbers.p_value(row["p_adjusted"]),
            "family": row["family"],
            "p_paper": numbers.p_value(row["p_paper_adjusted"]),
            "significant": bool(row["significant"]),
            "verdict": row["verdict"],
            "dagger": row["method"] == BY_JACKKNIFE,
        }
        for row in records(comparisons)
    ]


def scatter_data(results: StudyResults, correlations: pd.DataFrame) -> dict[str, Any]:
    """Return what the interactive scatter plots draw, fit for JSON.

    Measures are chosen by their names at the end of training and by a moment, the outcomes by their columns.
    """
    ledger = results.ledger.dropna(how="all", subset=results.measured)
    styles = looks(results.regimes)
    moments = ["", *results.levels]
    measures = dict.fromkeys(results.quantities[n].base for m in moments for n in results.measures(m))
    texts = {
        f"{row['measure']}|{row['quantity']}|{row['scope']}": numbers.correlation(
            row["spearman"], row["ci_low"], row["ci_high"]
        )
        for row in records(correlations)
        if row["scope"] in (POOLED, WITHIN)
    }
    unconverged = {name: results.unconverged(name)[ledger.index].tolist() for name in results.measured}
    stderrs = {name: f"{name}_stderr" for name in results.measured if f"{name}_stderr" in ledger.columns}
    return {
        "regimes": [{"name": r, "color": look.color, "symbol": look.symbol} for r, look in styles.items()],
        "labels": {name: results.quantities[name].label for name in results.measured},
        "short": {name: results.quantities[name].short_label for name in results.measured},
        "x": {moment: names for moment in moments if (names := outcomes_at(results, moment))},
        "y": {name: results.across(name) for name in measures},
        "runs": {
            "id": ledger["run_id"].astype(str).tolist(),
            "seed": ledger["seed"].astype(str).tolist(),
            "regime": ledger["regime"].astype(str).tolist(),
            "group": [describe_group({key: row[key] for key in results.keys}) for row in records(ledger)],
        },
        "values": {name: _json_numbers(ledger[name]) for name in results.measured},
        "stderr": {name: _json_numbers(ledger[column]) for name, column in stderrs.items()},
        "unconverged": {name: runs for name, runs in unconverged.items() if any(runs)},
        "correlations": texts,
    }


def _json_numbers(column: pd.Series) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in column.astype(float)]
