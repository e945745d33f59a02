"""The scheme of arXiv 2510.12451: one-sided tests in the direction that its authors expect.

It corrects within its scores of safety and within its measures of sharpness, for each level of the factor by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.results import StudyResults, by, describe_group, records, select
from sharpscope.analysis.statistics import benjamini_yekutieli, signed_rank_test
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Values

FAMILIES = {
    "safety": ("ece", "corruption_accuracy", "prediction_disagreement"),
    "sharpness": ("relative_flatness", "fisher_rao_norm", "sam_sharpness"),
}


def paper_tests_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a group, quantity of a family and level other than the reference.

    Columns: ``hypothesis``, what the level is expected to be; ``n`` pairs of seeds; ``effect``, the matched-pairs
    rank-biserial correlation; ``p`` of the signed-rank test in that direction, ``p_adjusted`` within the family by
    Benjamini and Yekutieli, and whether it is ``significant``.
    """
    values = Values(results)
    rows = [
        {**group, "family": family, **_test(results, name, level, *(of[setting] for of in values.paired(name, level)))}
        for setting, group in enumerate(values.settings)
        for family, names in FAMILIES.items()
        for name in results.measured
        if name in names and results.quantities[name].orientation
        for level in values.others
    ]
    columns = [*results.keys, "family", "quantity", results.factor.name, "reference", "hypothesis", "n", "effect", "p"]
    table = pd.DataFrame(rows, columns=columns).assign(p_adjusted=np.nan)
    for _, tests in table.groupby([*results.keys, results.factor.name, "family"], dropna=False):
        table.loc[tests.index, "p_adjusted"] = benjamini_yekutieli(tests["p"].to_numpy(float))
    return table.assign(significant=table["p_adjusted"] <= ALPHA)


def _test(results: StudyResults, name: str, level: str, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    quantity = results.quantities[name]
    test = signed_rank_test(first, second, "greater" if quantity.orientation > 0 else "less")
    return {
        "quantity": name,
        results.factor.name: level,
        "reference": results.reference,
        "hypothesis": quantity.verdict(quantity.orientation),
        "n": test.n,
        "effect": test.effect,
        "p": test.p,
    }


def shown_tests(results: StudyResults, table: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every test as text, with what the two-sided comparison of the same values says."""
    rows = []
    factor = results.factor.name
    for row in records(table):
        group = {key: row[key] for key in results.keys}
        ours = by(select(comparisons, {**group, "quantity": row["quantity"]}), factor)[row[factor]]
        rows.append(
            {
                "group": describe_group(group),
                "family": row["family"],
                "label": results.quantities[row["quantity"]].label,
                "level": row[factor],
                "n": row["n"],
                "effect": numbers.fixed(row["effect"], 2, sign=True),
                "p": numbers.p_value(row["p"]),
                "p_adjusted": numbers.p_value(row["p_adjusted"]),
                "verdict": row["hypothesis"] if row["significant"] else "",
                "ours": str(ours["verdict"]) if ours["significant"] else "",
            }
        )
    return rows
