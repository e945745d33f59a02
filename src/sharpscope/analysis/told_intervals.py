"""Why an interval may exclude equality where its difference is not significant, in a sentence."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.remains import side_of
from sharpscope.analysis.results import TableRow, records
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.wording import counted

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
    else:
        which = f"Of {len(rest)} differences without significance {len(apart)}"
        if len(rest) == 1:
            which = "The one difference without significance"
        why = (
            f"an interval is of one difference alone, and significance is corrected for the {tests} tests of the family"
        )
    return f"{which} {have} equality: {why}{_floor(apart)}."


def _floor(rows: list[TableRow]) -> str:
    """Return what few seeds have to do with it: no p is below that of two patterns of signs."""
    seeds, least = max(row["n"] - row["zeros"] for row in rows), min(row["p_smallest"] for row in rows)
    if seeds > _FEW:
        return ""
    never = ", so none of them can be significant" if least > ALPHA else ""
    return f"; and with {counted(seeds, 'seed')} no p is below 2/2^{seeds} = {numbers.p_value(least)}{never}"
