"""The families of tests, all contrasts and all comparisons as the page shows them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.results import StudyResults, TableRow, describe_group, records
from sharpscope.analysis.tested import ALPHA, BY_JACKKNIFE, PRIMARY, REPEATED, SECONDARY
from sharpscope.analysis.wording import difference_text, joined, named

_MOST_LISTED = 3  # quantities that are told by their names; more are counted


def family_table(results: StudyResults, contrasts: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each family of tests is and could find."""
    families = {
        "primary, over the whole study": contrasts[contrasts["family"] == PRIMARY],
        "secondary, over the whole study": contrasts[contrasts["family"] == SECONDARY],
    }
    if results.keys:
        families["secondary, in each setting"] = comparisons[comparisons["family"] != REPEATED]
    rows = []
    for family, every in families.items():
        tests = every[every["p"].notna()]
        if tests.empty:
            continue
        reachable = tests["p_adjusted_smallest"].min()
        rows.append(
            {
                "family": family,
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


def all_contrasts(results: StudyResults, contrasts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every contrast as text, those of the primary family first."""
    tests = contrasts[contrasts["family"] != REPEATED]
    rows = records(tests.sort_values("family", kind="stable"))
    return [{**_compared(results, row), **over_study(row)} for row in rows]


def over_study(row: TableRow) -> dict[str, str]:
    """Return what a contrast has beside a comparison, as text."""
    return {
        "signs": f"{max(row['risen'], row['differ'] - row['risen'])} of {row['differ']}"
        if row["n"]
        else numbers.MISSING,
        "p_sign": numbers.p_value(row["p_sign"]),
        "settings": f"{row['same_direction']} of {row['settings']}" if row["settings"] else numbers.MISSING,
        "heterogeneity": numbers.p_value(row["p_heterogeneity"]),
        "detectable": "" if math.isnan(row["detectable"]) else numbers.at_least(row["scale"], row["detectable"]),
        "equivalent": {True: "equivalent", False: "not shown to be"}.get(row["equivalent"], ""),
        "left_out": "; ".join(
            named(row[column].split(between), noun, between)
            for noun, column, between in (("seed", "seeds_left_out", ", "), ("setting", "settings_left_out", "; "))
            if row[column]
        ),
    }


def without(contrasts: list[dict[str, Any]]) -> list[str]:
    """Return which seeds and settings are left out of which contrasts, those of a level that lack the same at once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in contrasts:
        if row["left_out"]:
            found.setdefault((row["level"], row["left_out"]), []).append(row["label"])
    named_of = {
        key: joined(labels) if len(labels) <= _MOST_LISTED else f"{len(labels)} quantities"
        for key, labels in found.items()
    }
    return [f"{names} of {level} without {left_out}" for (level, left_out), names in named_of.items()]


def all_comparisons(results: StudyResults, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every comparison in a setting as text."""
    return [
        {"group": describe_group({key: row[key] for key in results.keys}), **_compared(results, row)}
        for row in records(comparisons[comparisons["family"] != REPEATED])
    ]


def _compared(results: StudyResults, row: TableRow) -> dict[str, Any]:
    return {
        "label": results.quantities[row["quantity"]].label,
        "level": row[results.factor.name],
        "n": row["n"],
        "difference": difference_text(row),
        "effect": numbers.fixed(row["effect"], 2, sign=True),
        "p": numbers.p_value(row["p"]),
        "p_adjusted": numbers.p_value(row["p_adjusted"]),
        "family": row["family"],
        "significant": bool(row["significant"]),
        "verdict": row["verdict"],
        "dagger": row["method"] == BY_JACKKNIFE,
    }
