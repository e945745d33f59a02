"""Is it confidence? The answer in sentences."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.explanations.confidence import closest
from sharpscope.analysis.explanations.told_remains import by_place, sharp_differences, told_left
from sharpscope.analysis.results import StudyResults
from sharpscope.store.snapshots import CALIBRATED, MATCHED


def told_confidence(results: StudyResults, family: pd.DataFrame, table: pd.DataFrame, against: str = "") -> str:
    """Return what is left at equal confidence of the significant differences in sharpness.

    Args:
        results: What the study found.
        family: The contrasts that decide.
        table: What is left of each; see ``confidence_table``.
        against: What the levels are compared with, where no sentence before says so: "compared with baseline".

    Returns:
        One sentence; empty where there is no such difference, or the study has no twins of these measures.
    """
    real = sharp_differences(results, family)
    real = real[real["quantity"].isin(table["quantity"])]
    if real.empty:
        return ""
    rows = closest(table)
    matched = (rows["at"] == MATCHED).any()
    how = {CALIBRATED: "calibrated"} if matched else {}
    told, unknown = told_left(results, real, by_place(results, rows), how)
    if unknown:
        told.append(f"nothing can be told of {results.factor.told(*unknown)}, for which no temperature was found")
    where = "At equal confidence" if matched else "With all networks calibrated"
    return f"{where}{f', {against}' if against else ''}, {'; '.join(told)}."
