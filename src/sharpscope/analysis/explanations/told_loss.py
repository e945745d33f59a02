"""Is it loss? The answer in sentences."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.explanations.loss import ADJUSTED, decisive
from sharpscope.analysis.explanations.told_remains import by_place, sharp_differences, told_left
from sharpscope.analysis.results import StudyResults, TableRow, records


def told_loss(results: StudyResults, family: pd.DataFrame, remains: pd.DataFrame, against: str = "") -> str:
    """Return what is left at equal train loss of the significant differences in sharpness; empty where there are none.

    Args:
        results: What the study found.
        family: The contrasts that decide.
        remains: What is left of each; see ``remains_table``.
        against: What the levels are compared with, where no sentence before says so: "compared with baseline".
    """
    factor, real = results.factor, sharp_differences(results, family)
    if real.empty:
        return ""
    found = by_place(results, decisive(remains))
    told, unknown = told_left(results, real, found, {ADJUSTED: "adjusted for the loss"})
    if unknown:
        of = factor.told(*unknown)
        losses = "its train losses" if len(unknown) == 1 else "their train losses"
        none = "no seed came to a matched loss there and in the reference" if results.losses else "no loss was matched"
        told.append(f"nothing can be told of {of}: {none}, and {losses} hardly overlap the reference's")
    besides = f", {against}" if against else ""
    return f"At equal train loss{_where(found, real, factor.name)}{besides}, {'; '.join(told)}."


def _where(found: dict[tuple[str, str], TableRow], real: pd.DataFrame, factor: str) -> str:
    at = {row["at"] for row in (found.get((r["quantity"], r[factor])) for r in records(real)) if row is not None}
    losses = sorted((place for place in at if place != ADJUSTED), key=float)
    return f" ({' or '.join(losses)})" if losses else ""
