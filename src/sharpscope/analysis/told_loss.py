"""Is it loss? The answer in sentences."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.equal_loss import ADJUSTED, NOT_SEEN, REMAINS, TURNED, decisive
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.wording import joined, label_of

_SHARPNESS = ("sharper", "flatter")


def told_loss(results: StudyResults, family: pd.DataFrame, remains: pd.DataFrame) -> str:
    """Return what is left at equal train loss of the significant differences in sharpness; empty where there are none.

    Args:
        results: What the study found.
        family: The contrasts that decide.
        remains: What is left of each; see ``remains_table``.
    """
    factor = results.factor
    at_end = family["quantity"].map(lambda name: not results.quantities[name].matched_loss).astype(bool)
    real = family[at_end & family["significant"] & family["verdict"].isin(_SHARPNESS)]
    if real.empty:
        return ""
    found = {(row["quantity"], row[factor.name]): row for row in records(decisive(remains))}
    parts: dict[str, list[str]] = {}
    for level, rows in real.groupby(factor.name, sort=False):
        left = [found[key] for name in rows["quantity"] if (key := (name, level)) in found]
        parts.setdefault(_left(results, left), []).append(str(level))
    unknown = parts.pop("", None)
    told = [f"{factor.told(*levels)} {_agreeing(text, len(levels))}" for text, levels in parts.items()]
    if unknown:
        of = factor.told(*unknown)
        losses = "its train losses" if len(unknown) == 1 else "their train losses"
        told.append(f"nothing can be told of {of}: no loss was matched, and {losses} hardly overlap the reference's")
    return f"At equal train loss{_where(found, real, factor.name)}, {'; '.join(told)}."


def _agreeing(text: str, levels: int) -> str:
    """Return a predicate with its verbs in the number of its subject."""
    return text.replace("{s}", "s" if levels == 1 else "")


def _where(found: dict[tuple[str, str], TableRow], real: pd.DataFrame, factor: str) -> str:
    at = {row["at"] for row in (found.get((r["quantity"], r[factor])) for r in records(real)) if row is not None}
    losses = sorted((place for place in at if place != ADJUSTED), key=float)
    return f" ({' or '.join(losses)})" if losses else ""


def _left(results: StudyResults, rows: list[TableRow]) -> str:
    """Return what is left of one level's differences, {s} for the ending of verbs; empty where that cannot be told."""
    kept = [row for row in rows if row["became"] == REMAINS]
    turned = [row for row in rows if row["became"] == TURNED]
    gone = [row for row in rows if row["became"] == NOT_SEEN]
    phrases = []
    if kept:
        phrases.append(f"keep{{s}} {joined([_share(results, row) for row in kept])}")
    if turned:
        phrases.append(f"turn{{s}} around by {joined([_value(results, row) for row in turned])}")
    if gone:
        phrases.append(f"show{{s}} no difference by {joined([_value(results, row) for row in gone])}")
    return ", ".join(phrases)


def _share(results: StudyResults, row: TableRow) -> str:
    name = label_of(results, row["quantity"])
    if not math.isfinite(row["retained"]):
        return f"a difference by {_value(results, row)}"
    low, high = (f"{100 * row[end]:.0f}" for end in ("retained_low", "retained_high"))
    return f"{100 * row['retained']:.0f}% [{low}, {high}] of that by {name}"


def _value(results: StudyResults, row: TableRow) -> str:
    change = numbers.change(row["scale"], row["difference"], row["ci_low"], row["ci_high"])
    how = ", adjusted for the loss" if row["at"] == ADJUSTED else ""
    return f"{label_of(results, row['quantity'])} ({change}{how})"
