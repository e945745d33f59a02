"""Where an interval and a test do not agree, and where the mean goes another way than most seeds, in sentences."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.remains import side_of
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.tested import ALPHA, LEAST_SEEDS
from sharpscope.analysis.wording import counted, joined, label_of

_FEW = 8  # seeds, with which the smallest p that there is may be in the way


def told_intervals(shown: pd.DataFrame, tests: int) -> str:
    """Return why some differences have an interval without equality and are not significant.

    Args:
        shown: The differences that are spoken of, all of one family; see ``contrasts_table``.
        tests: How many tests the family has.

    Returns:
        One sentence; empty where there is no such difference.
    """
    rest = shown[shown["p"].notna() & ~shown["significant"].astype(bool)]
    apart = [row for row in records(rest) if side_of(row)]
    if not apart:
        return ""
    have = "has an interval that excludes" if len(apart) == 1 else "have intervals that exclude"
    if tests == 1:
        which = "The one difference is not significant and"
        why = "the interval inverts the signed-rank test, while p is that of flips of the mean"
        if apart[0]["n"] < LEAST_SEEDS:
            why = "the interval is the range of the differences, which has less than 95%"
    else:
        which = f"Of {len(rest)} differences without significance {len(apart)}"
        if len(rest) == 1:
            which = "The one difference without significance"
        why = (
            f"an interval is of one difference alone, and significance is corrected for the {tests} tests of the family"
        )
    return f"{which} {have} equality: {why}{_floor(apart)}."


def told_carried(results: StudyResults, shown: pd.DataFrame) -> tuple[str, ...]:
    """Return which differences a few seeds carry: significant ones that most may lack, and those against most.

    Args:
        results: What the study found.
        shown: The differences that are spoken of, all of one family; see ``contrasts_table``.
    """
    sentences = []
    real = shown[shown["significant"].astype(bool)]
    held = [row for row in records(real) if not side_of(row)]
    if held:
        which = f"{len(held)} of {counted(len(real), 'significant difference')}"
        if len(real) == 1:
            which = "The significant difference"
        have = "has an interval that holds" if len(held) == 1 else "have intervals that hold"
        sentences.append(
            f"{which} {have} equality: the mean differs by flips of seeds, and the typical seed, of which the interval "
            "is, may not."
        )
    found = shown["p_adjusted"].le(ALPHA) & ~shown["significant"].astype(bool)
    against = [f"{label_of(results, row['quantity'])} of {row[results.factor.name]}" for row in records(shown[found])]
    if against:
        differ = "their means differ" if len(against) > 1 else "its mean differs"
        sentences.append(
            f"No direction is called significant of {joined(against)}: by flips of seeds {differ}, but a few seeds "
            "carry that against the way of the others."
        )
    return tuple(sentences)


def _floor(rows: list[TableRow]) -> str:
    """Return what few seeds have to do with it: no p is below that of two patterns of signs."""
    seeds, least = max(row["n"] - row["zeros"] for row in rows), min(row["p_smallest"] for row in rows)
    if seeds > _FEW:
        return ""
    never = ", so none of them can be significant" if least > ALPHA else ""
    return f"; and with {counted(seeds, 'seed')} no p is below 2/2^{seeds} = {numbers.p_value(least)}{never}"
