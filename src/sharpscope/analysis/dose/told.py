"""What moves along an ordered factor, in sentences that lead with the size."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import axis_of
from sharpscope.analysis.dose.bookkeeping import MEAN, PARTS, REST, THROUGH
from sharpscope.analysis.dose.left import held_row, left_told, losses_of, where_told
from sharpscope.analysis.dose.sizes import (
    bends,
    change,
    correlation_told,
    levels_told,
    p_told,
    size_told,
    straight,
    tau_told,
    way_told,
)
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.explanations.concluded import share
from sharpscope.analysis.explanations.confidence import CLOSEST
from sharpscope.analysis.explanations.loss import COMPARABLE_FROM
from sharpscope.analysis.results import StudyResults, TableRow, by, describe_moment, records
from sharpscope.analysis.tested import ALPHA, LEAST_SEEDS, PRIMARY
from sharpscope.analysis.wording import counted, joined, label_of, named
from sharpscope.store.snapshots import CALIBRATED, END, MATCHED

_PLACES = {END: "the end of training", MATCHED: "equal confidence", CALIBRATED: "the end, calibrated"}


def asked(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that are told in sentences: those of the primary quantities."""
    return records(table[(table["at"] == END) & (table["family"] == PRIMARY)])


def of_complexity(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that tell whether the factor moves the complexity of the function."""
    return records(table[(table["at"] == END) & (table["kind"] == "complexity") & (table["family"] != PRIMARY)])


def place_told(at: str) -> str:
    """Return where something was found, in words: "the end of training", "train loss 0.1", "equal confidence"."""
    return _PLACES.get(at) or describe_moment(at)


def share_of_seeds(row: TableRow) -> str:
    """Return in how many seeds a quantity moves as its mean trend: "up in 10 of 10 seeds"."""
    up = row["tau"] >= 0
    return f"{'up' if up else 'down'} in {row['rising' if up else 'falling']} of {counted(row['n'], 'seed')}"


def trend_told(row: TableRow) -> str:
    """Return whether a quantity rises or falls with the levels, as a predicate."""
    found = f"mean tau {tau_told(row)}, {share_of_seeds(row)}"
    if not row["rising"] + row["falling"]:
        return "no seed moves with the levels"
    if not row["p_adjusted_smallest"] <= ALPHA:
        least = numbers.p_value(row["p_adjusted_smallest"])
        of = f"after correction the smallest p of {counted(row['n'], 'seed')} is {least}"
        return f"no trend could be significant, since {of} ({found})"
    if not row["significant"]:
        return f"no trend with {row['factor']} is seen ({found}, {p_told(row)})"
    return f"it {way_told(row)} with {row['factor']} ({found}, {p_told(row)})"


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
    few = "" if row["line_n"] >= LEAST_SEEDS or not math.isfinite(row["ci_low"]) else _range(row)
    return f"End to end {size_told(row)}, from {ends}{few}; {trend}."


def _range(row: TableRow) -> str:
    seeds, level = counted(int(row["line_n"]), "seed"), 100 * row["ci_level"]
    return f" (the range of {seeds}, which holds the truth in {level:.0f}% of cases)"


def _bend(row: TableRow) -> list[str]:
    if not bends(row):
        return []
    bend = numbers.change(row["scale"], row["bend"], row["bend_low"], row["bend_high"])
    side = "above" if row["bend"] > (1.0 if row["scale"] == "ratio" else 0.0) else "below"
    return [f"Its course bends: in the middle it lies {side} the straight line over {row['h']}, by {bend}."]


def _first_levels(results: StudyResults, row: TableRow) -> list[str]:
    axis = axis_of(results)
    sides = (("differs_above", "on"), ("differs_below", "down"))
    told = [f"from {row[side]} {word}" for side, word in sides if row[side]]
    return [f"It differs from {axis.told(results.reference)} {joined(told)}."] if told and axis is not None else []


def _left(results: StudyResults, table: pd.DataFrame, row: TableRow) -> list[str]:
    at_loss, of_twin = held_row(table, row, losses_of(results)), held_row(table, row, CLOSEST)
    # What no temperature moves is the same of a twin.
    moved = of_twin is not None and of_twin["joint_change"] != of_twin["end_change"]
    return [
        f"{where_told(there, row)}, {clause}."
        for there in (at_loss, of_twin if moved else None)
        if there is not None and (clause := left_told(results, there, row))
    ]


def _partial(row: TableRow) -> list[str]:
    about = row["kind"] in ("sharpness", "complexity") and row["partial_n"] > 0
    if not about or not math.isfinite(row["partial_low"]):
        return []
    rho = correlation_told(row["partial"], row["partial_low"], row["partial_high"], row["partial_n"])
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
    through, rest = (_part(found[part]) for part in (THROUGH, REST))
    of = "the change" if straight(row) else "the change by a straight line"
    return [f"By bookkeeping, {through} of {of} goes through the train loss, and {rest} does not."]


def _part(row: TableRow) -> str:
    if row["n"] < LEAST_SEEDS:
        return numbers.change(row["scale"], row["change"], math.nan, math.nan)
    return change(row)


def _left_out(row: TableRow) -> list[str]:
    told = []
    if row["levels_left_out"]:
        told.append(f"Fewer than half of the seeds have it at {row['levels_left_out']}, which is left out.")
    if row["seeds_left_out"]:
        seeds = named(row["seeds_left_out"].split(", "), "seed")
        told.append(f"Left out, since an end of the range or all between is missing: {seeds}.")
    if row["settings_left_out"]:
        settings = row["settings_left_out"]
        told.append(f"Setting{'s' if '; ' in settings else ''} left out: {settings}.")
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
        f"{names[name]} {'a further ' if place else 'explains '}{share(rows[name])}" for place, name in enumerate(order)
    ]
    return ", ".join(texts)


def _mean(part: pd.DataFrame, names: dict[str, str]) -> str:
    rows = by(part[part["order"] == MEAN], "predictor")
    return joined([f"{names[name]} {share(row)}" for name, row in rows.items()])
