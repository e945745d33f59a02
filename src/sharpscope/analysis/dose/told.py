"""What moves along an ordered factor, in sentences that lead with the size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import axis_of, is_name
from sharpscope.analysis.dose.bookkeeping import MEAN, PARTS, REST, THROUGH
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.explanations.confidence import CLOSEST
from sharpscope.analysis.explanations.loss import COMPARABLE_FROM
from sharpscope.analysis.explanations.remains import APPEARS, NOT_SEEN, REMAINS, TURNED, became, side_of
from sharpscope.analysis.explanations.told_remains import share_text
from sharpscope.analysis.results import StudyResults, TableRow, by, describe_moment, records
from sharpscope.analysis.tested import ALPHA, PRIMARY
from sharpscope.analysis.wording import counted, joined, label_of, no_ratio
from sharpscope.store.snapshots import CALIBRATED, END, MATCHED

HELD_BY_TWINS = {MATCHED: "At equal confidence", CALIBRATED: "With all networks calibrated"}
_PLACES = {END: "the end of training", MATCHED: "equal confidence", CALIBRATED: "the end, calibrated"}
LEAST_SEEDS = 6  # with fewer no pattern of signs is rare enough


def asked(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that are told in sentences: those of the primary quantities."""
    return records(table[(table["at"] == END) & (table["family"] == PRIMARY)])


def of_complexity(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that tell whether the factor moves the complexity of the function."""
    return records(table[(table["at"] == END) & (table["kind"] == "complexity") & (table["family"] != PRIMARY)])


def place_told(at: str) -> str:
    """Return where something was found, in words: "the end of training", "train loss 0.1", "equal confidence"."""
    return _PLACES.get(at) or describe_moment(at)


def change(row: TableRow) -> str:
    """Return the change from end to end with its interval: "×3.2 [2.9, 3.6]"."""
    return numbers.change(row["scale"], row["change"], row["ci_low"], row["ci_high"])


def levels_told(row: TableRow) -> str:
    """Return the levels between which a change is told: "data.factor 0.5 to 0.95", "baseline to sam.rho 0.1"."""
    first, last = row["line_first"], row["line_last"]
    if is_name(first) and not is_name(last):
        return f"{first} to {row['factor']} {last}"
    return f"{row['factor']} {first} to {last}"


def share_of_seeds(row: TableRow) -> str:
    """Return in how many seeds a quantity moves as its mean trend: "up in 10 of 10 seeds"."""
    up = row["tau"] >= 0
    return f"{'up' if up else 'down'} in {row['rising' if up else 'falling']} of {counted(row['n'], 'seed')}"


def trend_told(row: TableRow) -> str:
    """Return whether a quantity rises or falls with the levels, as a predicate."""
    tau = numbers.correlation(row["tau"], row["tau_low"], row["tau_high"])
    found = f"mean tau {tau}, {share_of_seeds(row)}"
    if not row["rising"] + row["falling"]:
        return "no seed moves with the levels"
    if not row["p_adjusted_smallest"] <= ALPHA:
        least = numbers.p_value(row["p_adjusted_smallest"])
        of = f"after correction the smallest p of {counted(row['n'], 'seed')} is {least}"
        return f"no trend could be significant, since {of} ({found})"
    if not row["significant"]:
        return f"no trend with {row['factor']} is seen ({found}, {_p_told(row)})"
    return f"it {_way(row)} with {row['factor']} ({found}, {_p_told(row)})"


def _way(row: TableRow) -> str:
    return "rises" if row["tau"] > 0 else "falls"


def _p_told(row: TableRow) -> str:
    return f"p\u00a0=\u00a0{numbers.p_value(row['p_adjusted'])}".replace("=\u00a0< ", "<\u00a0")


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


def left_told(results: StudyResults, there: TableRow, row: TableRow) -> str:
    """Return what remains of a change where something is held equal, as a phrase; empty where there is no interval.

    Args:
        results: What the study found.
        there: The change there.
        row: That at the end of training.
    """
    at_end = _at_end(there)
    outcome = became(there, at_end)
    # What is a ratio at the end and none there is told as a difference of both.
    unlike = there["scale"] != row["scale"]
    unit = results.quantities[there["quantity"]].unit if unlike else ""
    told, at_end_told = (change(one) + (unit and f" {unit}") for one in (there, at_end))
    why = f" ({no_ratio(there['not_positive'], there['values'])}, so that ratios cannot be told)" if unlike else ""
    if there["n"] < LEAST_SEEDS:
        return f"it is {told} in {counted(there['n'], 'seed')}, too few for a test{why}" if outcome else ""
    # Over other levels the change at the end is another one, too.
    end = f" of {at_end_told} at the end" if unlike or range_told(there, row) else ""
    share = share_text(there)
    remains = f"{told}{end} remains ({share})" if end else f"{told} remains, {share} of that at the end"
    phrases = {
        REMAINS: remains if share else f"{told}{end} remains",
        NOT_SEEN: f"no change is seen ({told}{end and f',{end}'})",
        TURNED: f"it goes the other way ({told}{end and f',{end}'})",
        APPEARS: f"a change of {told} appears that is not seen at the end",
    }
    return f"{phrases[outcome]}{_not_in_order(there, outcome)}{why}" if outcome else ""


def _not_in_order(there: TableRow, outcome: str) -> str:
    """Return what takes back a size that is told where something is held equal: that the levels are not in its order.

    A straight line rises over a course that jumps and then falls.
    """
    if outcome == NOT_SEEN:
        return ""
    if there["shape"] == NOT_MONOTONE:
        return ", by a straight line through a course that goes up and down there"
    agrees = there["significant"] and (there["tau"] > 0) == (side_of(there) > 0)
    if agrees or not there["p_adjusted_smallest"] <= ALPHA:
        return ""
    found = f"it {_way(there)}" if there["significant"] else "no trend is seen"
    tau = numbers.correlation(there["tau"], there["tau_low"], there["tau_high"])
    return f", though by the order of the levels {found} there (mean tau {tau}, {_p_told(there)})"


def _at_end(there: TableRow) -> TableRow:
    """Return the change at the end over the levels that are there, as a row."""
    ends = {"change": there["end_change"], "ci_low": there["end_low"], "ci_high": there["end_high"]}
    return {"scale": there["scale"], **ends}


def range_told(there: TableRow, row: TableRow) -> str:
    """Return between which levels a change is told, where they are not those of the end: ", from 0.5 to 0.8"."""
    same = (there["line_first"], there["line_last"]) == (row["line_first"], row["line_last"])
    return "" if same else f", from {there['line_first']} to {there['line_last']}"


def sentences(results: StudyResults, table: pd.DataFrame, parts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what each primary quantity and measure of complexity does along the levels: its label, and sentences.

    Args:
        results: What the study found.
        table: See ``dose_table``.
        parts: See ``bookkeeping_table``.
    """
    rows = [*asked(table), *of_complexity(table)]
    return [(results.quantities[row["quantity"]].label, _sentence(results, table, parts, row)) for row in rows]


def _sentence(results: StudyResults, table: pd.DataFrame, parts: pd.DataFrame, row: TableRow) -> str:
    told = [_size(row), *_bend(row), *_first_levels(results, row), *_left(results, table, row)]
    told += [*_partial(row), *_bookkeeping(parts, row), *_left_out(row)]
    return " ".join(told)


def _size(row: TableRow) -> str:
    trend = trend_told(row)
    if not math.isfinite(row["change"]):
        return f"{trend[0].upper()}{trend[1:]}; too few levels lie on {row['h']} for a size."
    ends = levels_told(row)
    if row["shape"] == NOT_MONOTONE:
        return (
            f"Not monotone: steps between adjacent levels are significant both up and down, so that no one size "
            f"tells its course. It is highest at {row['highest']} and lowest at {row['lowest']}. By a straight line it "
            f"changes by {change(row)} from {ends}; on the whole, {trend}."
        )
    few = "" if row["n"] >= LEAST_SEEDS or not math.isfinite(row["ci_low"]) else _range(row)
    return f"End to end {change(row)}, from {ends}{few}; {trend}."


def _range(row: TableRow) -> str:
    return (
        f" (the range of {counted(row['n'], 'seed')}, which holds the truth in {100 * row['ci_level']:.0f}% of cases)"
    )


def _bend(row: TableRow) -> list[str]:
    same = 1.0 if row["scale"] == "ratio" else 0.0
    straight = not (row["bend_low"] > same or row["bend_high"] < same)
    if straight or row["shape"] == NOT_MONOTONE or row["n"] < LEAST_SEEDS:
        return []
    bend = numbers.change(row["scale"], row["bend"], row["bend_low"], row["bend_high"])
    side = "above" if row["bend"] > same else "below"
    return [f"Its course bends: in the middle it lies {side} the straight line over {row['h']}, by {bend}."]


def _first_levels(results: StudyResults, row: TableRow) -> list[str]:
    axis = axis_of(results)
    sides = (("differs_above", "on"), ("differs_below", "down"))
    told = [f"from {row[side]} {word}" for side, word in sides if row[side]]
    return [f"It differs from {axis.told(results.reference)} {joined(told)}."] if told and axis is not None else []


def _left(results: StudyResults, table: pd.DataFrame, row: TableRow) -> list[str]:
    told = []
    there = held_row(table, row, losses_of(results))
    if there is not None and (phrase := left_told(results, there, row)):
        told.append(f"At equal train loss ({there['at']}{range_told(there, row)}), {phrase}.")
    there = held_row(table, row, CLOSEST)
    # What no temperature moves is the same of a twin.
    moved = there is not None and there["change"] != there["end_change"]
    if there is not None and moved and (phrase := left_told(results, there, row)):
        told.append(f"{HELD_BY_TWINS[there['at']]}{range_told(there, row)}, {phrase}.")
    return told


def _partial(row: TableRow) -> list[str]:
    about = row["kind"] in ("sharpness", "complexity") and row["partial_n"] > 0
    if not about or not math.isfinite(row["partial_low"]):
        return []
    rho = numbers.correlation(row["partial"], row["partial_low"], row["partial_high"])
    of = "" if row["partial_n"] == row["n"] else f" in the {counted(int(row['partial_n']), 'seed')} that have one"
    return [f"Given the train loss of each run, its correlation with {row['factor']} within seeds is {rho}{of}."]


def _bookkeeping(parts: pd.DataFrame, row: TableRow) -> list[str]:
    found = by(parts[parts["quantity"] == row["quantity"]], "part")
    if not found or math.isnan(found[THROUGH]["overlap"]):
        return []
    if found[THROUGH]["overlap"] < COMPARABLE_FROM:
        return ["What goes through the train loss is not told: losses of adjacent levels hardly overlap."]
    if not all(math.isfinite(found[part]["ci_low"]) for part in PARTS):
        return []
    through, rest = (change(found[part]) for part in (THROUGH, REST))
    return [f"By bookkeeping, {through} of the change goes through the train loss, and {rest} does not."]


def _left_out(row: TableRow) -> list[str]:
    told = []
    if row["levels_left_out"]:
        told.append(f"Fewer than half of the seeds have it at {row['levels_left_out']}, which is left out.")
    if row["seeds_left_out"]:
        told.append(f"Left out, since an end of the range or all between is missing: seeds {row['seeds_left_out']}.")
    if row["settings_left_out"]:
        told.append(f"Settings left out: {row['settings_left_out']}.")
    return told


def verdicts(results: StudyResults, shares: pd.DataFrame) -> list[str]:
    """Return, of each measure of sharpness, how much loss, complexity and the factor explain: in both orders.

    Args:
        results: What the study found.
        shares: See ``shares_table``.
    """
    told = []
    for (measure, complexity), part in shares.groupby(["measure", "complexity"], sort=False):
        label, factor = label_of(results, str(measure)), str(part["factor"].iloc[0])
        if (part["predictor"] == "").all():
            told.append(
                f"How much of {label} loss{', complexity' if complexity else ''} and {factor} explain cannot "
                f"be told apart: within seeds they go together (condition number "
                f"{numbers.fixed(float(part['condition'].iloc[0]), 0)})."
            )
            continue
        names = {"loss": "loss", "dose": factor}
        if complexity:
            names["complexity"] = label_of(results, str(complexity))
        first = ["loss", *(["complexity"] if complexity else []), "dose"]
        second = ["complexity", "loss", "dose"] if complexity else ["dose", "loss"]
        few = "" if part["ci_low"].notna().any() else " There are too few seeds for intervals."
        orders = [_in_order(part, order, names) for order in (first, second)]
        told.append(
            f"Of the variation of {label} within seeds, {orders[0]}. The other way round, {orders[1]}. In the mean "
            f"over all orders: {_mean(part, names)}.{few}"
        )
    return told


def _in_order(part: pd.DataFrame, order: list[str], names: dict[str, str]) -> str:
    rows = by(part[part["order"] == " > ".join(order)], "predictor")
    texts = [
        f"{names[name]} {'a further ' if place else 'explains '}{_share_of(rows[name])}"
        for place, name in enumerate(order)
    ]
    return ", ".join(texts)


def _mean(part: pd.DataFrame, names: dict[str, str]) -> str:
    rows = by(part[part["order"] == MEAN], "predictor")
    return joined([f"{names[name]} {_share_of(row)}" for name, row in rows.items()])


def _share_of(row: TableRow) -> str:
    return numbers.percentage(*(row[end] for end in ("share", "ci_low", "ci_high")))
