"""What is left of a change along an ordered factor where something is held equal, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.sizes import p_told, straight, tau_told, way_told
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.explanations.remains import APPEARS, NOT_SEEN, REMAINS, TURNED, became, side_of
from sharpscope.analysis.explanations.told_remains import share_text
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.analysis.tested import ALPHA, LEAST_SEEDS
from sharpscope.analysis.wording import counted, no_ratio
from sharpscope.store.snapshots import CALIBRATED, MATCHED

_APART = 0.05  # of the change at the end: so far a share of means may be off that of two typical sizes, without a word
_HELD_BY_TWINS = {MATCHED: "At equal confidence", CALIBRATED: "With all networks calibrated"}


def held_row(table: pd.DataFrame, row: TableRow, places: Sequence[str]) -> TableRow | None:
    """Return the row of a quantity at the first of some places that has a change; None where none has.

    Args:
        table: See ``dose_table``.
        row: The quantity at the end.
        places: Where something is held equal: matched losses or twins, the best first.
    """
    of_quantity = table[(table["quantity"] == row["quantity"]) & table["change"].notna()]
    found = by(of_quantity, "at")
    return next((found[place] for place in places if place in found), None)


def losses_of(results: StudyResults) -> list[str]:
    """Return the matched train losses, that nearest to the end first."""
    return sorted(results.losses, key=float)


def where_told(there: TableRow, row: TableRow) -> str:
    """Return what is held equal, and what else is not as in the change at the end: levels, seeds, or its measure.

    "At equal train loss (0.1, from 0.5 to 0.8, in 6 of 10 seeds)".

    Args:
        there: The change there.
        row: That at the end of training.
    """
    held = _HELD_BY_TWINS.get(there["at"])
    besides = ", ".join([*([] if held else [there["at"]]), *_unlike_the_end(there, row)])
    return f"{held or 'At equal train loss'}{besides and f' ({besides})'}"


def _unlike_the_end(there: TableRow, row: TableRow) -> list[str]:
    told = []
    if (there["joint_first"], there["joint_last"]) != (row["line_first"], row["line_last"]):
        told.append(f"from {there['joint_first']} to {there['joint_last']}")
    if there["joint_lacks"]:
        told.append(f"without {there['joint_lacks']}")
    if LEAST_SEEDS <= there["joint_n"] < row["line_n"]:
        told.append(f"in {int(there['joint_n'])} of {counted(int(row['line_n']), 'seed')}")
    # What is left is a matter of lines, whatever size leads the sentence on the end.
    if not (straight(there) and straight(row)):
        told.append("by straight lines")
    return told


def left_told(results: StudyResults, there: TableRow, row: TableRow, subject: str = "") -> str:
    """Return what remains of a change where something is held equal, as a clause; empty where there is no interval.

    Both changes are over the levels and by the seeds that have both, as their share is.

    Args:
        results: What the study found.
        there: The change there.
        row: That at the end of training.
        subject: What the quantity is called; empty where it was named before.
    """
    held, end = _over_both(there, "joint"), _over_both(there, "end")
    outcome = became(held, end)
    if not outcome:
        return ""
    # What is a ratio at the end and none there is told as a difference of both.
    unlike = there["scale"] != row["scale"]
    why = f" ({no_ratio(there['not_positive'], there['values'])}, so that ratios cannot be told)" if unlike else ""
    name, of = subject or "it", f"of {subject} " if subject else ""
    unit = f" {unit}" if unlike and (unit := results.quantities[there["quantity"]].unit) else ""
    if there["joint_n"] < LEAST_SEEDS:
        told = numbers.change(there["scale"], held["change"], math.nan, math.nan)
        return f"{name} changes by {told}{unit} in {counted(int(there['joint_n']), 'seed')}, too few for a test{why}"
    told, at_end = (
        numbers.change(one["scale"], one["change"], one["ci_low"], one["ci_high"]) + unit for one in (held, end)
    )
    named = _named(there, row)
    aside = told if named else f"{told}, where it is {at_end} at the end"
    clauses = {
        NOT_SEEN: f"{of}no change is seen ({aside})",
        TURNED: f"{name} goes the other way ({aside})",
        APPEARS: f"{of}a change of {told} appears that is not seen at the end{'' if named else f' ({at_end})'}",
    }
    if outcome != REMAINS:
        return f"{clauses[outcome]}{_not_in_order(there, row, outcome)}{why}"
    clause = _remains(there, (told, at_end), (held, end), subject, named=named)
    return f"{clause}{_not_in_order(there, row, outcome)}{why}"


def _remains(
    there: TableRow, told: tuple[str, str], sizes: tuple[TableRow, TableRow], subject: str, *, named: bool
) -> str:
    """Return that a change is there, on the side of that at the end: as what remains of it, unless it is larger.

    Args:
        there: The change there.
        told: The change there and that at the end, in words.
        sizes: The same, in numbers.
        subject: What the quantity is called; empty where it was named before.
        named: Whether that at the end was told before.
    """
    (here, at_end), (held, end) = told, (_size(one) for one in sizes)
    name, of = subject or "it", f"of {subject} " if subject else ""
    share, above = share_text(there), there["retained_low"] > 1
    # Few seeds far off move the mean, of which the share is, and hardly a typical size.
    apart = bool(share) and abs(held / end - there["retained"]) > _APART
    mean = " in the mean logarithm" if apart else ""
    larger = above if share and not apart else held > end
    if named and share:
        left = f"{share} of that at the end{mean}"
        return f"{name} changes by {here}, {left}" if larger else f"{of}{here} remains, {left}"
    left = f" ({share}{mean})" if share else ""
    if larger:
        return f"{name} changes by {here}, {'more than' if above else 'where it is'} {at_end} at the end{left}"
    return f"{of}{here} of {at_end} at the end remains{left}"


def _size(row: TableRow) -> float:
    return abs(math.log(row["change"]) if row["scale"] == "ratio" else row["change"])


def _over_both(there: TableRow, which: str) -> TableRow:
    """Return the change there ("joint") or that at the end ("end"), over the levels and by the seeds of both."""
    names = {"change": "change", "ci_low": "low", "ci_high": "high"}
    return {"scale": there["scale"], **{name: there[f"{which}_{end}"] for name, end in names.items()}}


def _named(there: TableRow, row: TableRow) -> bool:
    """Return whether the change at the end with which one is compared is the very one that was told before."""
    end = _over_both(there, "end")
    return straight(row) and all(end[name] == row[name] for name in end)


def _not_in_order(there: TableRow, row: TableRow, outcome: str) -> str:
    """Return what takes back a size that is told where something is held equal: that the levels are not in its order.

    A straight line rises over a course that jumps and then falls, and is level under an arc.
    """
    if there["shape"] == NOT_MONOTONE:
        too = row["shape"] == NOT_MONOTONE
        return ", and it goes up and down there, too" if too else ", though it goes up and down there"
    if outcome == NOT_SEEN or not there["p_adjusted_smallest"] <= ALPHA:
        return ""
    if there["significant"] and (there["tau"] > 0) == (side_of(_over_both(there, "joint")) > 0):
        return ""
    found = f"it {way_told(there)}" if there["significant"] else "no trend is seen"
    return f", though by the order of the levels {found} there (mean tau {tau_told(there)}, {p_told(there)})"
