"""The families of tests and all comparisons as the page shows them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.comparisons import ALPHA, BY_JACKKNIFE
from sharpscope.analysis.results import StudyResults, describe_group, records, split


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
            "level": row[results.factor.name],
            "n": row["n"],
            "difference": numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True),
            "effect": numbers.fixed(row["effect"], 2, sign=True),
            "p": numbers.p_value(row["p"]),
            "p_adjusted": numbers.p_value(row["p_adjusted"]),
            "family": row["family"],
            "significant": bool(row["significant"]),
            "verdict": row["verdict"],
            "dagger": row["method"] == BY_JACKKNIFE,
        }
        for row in records(comparisons)
    ]
