"""What moves along an ordered factor, in sentences that lead with the size."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.bookkeeping import MEAN, PARTS
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.remains import APPEARS, NOT_SEEN, REMAINS, TURNED, became
from sharpscope.analysis.results import StudyResults, TableRow, by, records
from sharpscope.analysis.tested import ALPHA, PRIMARY
from sharpscope.analysis.told_remains import share_text
from sharpscope.analysis.wording import counted, joined, label_of
from sharpscope.spec import is_option
from sharpscope.store.snapshots import END

LEAST_SEEDS = 6  # with fewer no pattern of signs is rare enough


def asked(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that are told in sentences: those of the primary quantities."""
    return records(table[(table["at"] == END) & (table["family"] == PRIMARY)])


def of_complexity(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows at the end of training that tell whether the factor moves the complexity of the function."""
    return records(table[(table["at"] == END) & (table["kind"] == "complexity") & (table["family"] != PRIMARY)])


def change(row: TableRow) -> str:
    """Return the change from end to end with its interval: "×3.2 [2.9, 3.6]"."""
    return numbers.change(row["scale"], row["change"], row["ci_low"], row["ci_high"])


def levels_told(results: StudyResults, first: str, last: str) -> str:
    """Return the levels between which a change is told: "data.factor 0.5 to 0.95"."""
    return f"{results.factor.told(first)} to {last}"


def key_of(results: StudyResults) -> str:
    """Return what the levels are values of, as a sentence has it: "data.factor", "sam.rho"."""
    factor = results.factor
    return factor.name.split(".", 1)[1] if is_option(factor.name) else factor.name


def share_of_seeds(row: TableRow) -> str:
    """Return in how many seeds a quantity moves as its mean trend: "up in 10 of 10 seeds"."""
    up = row["tau"] >= 0
    return f"{'up' if up else 'down'} in {row['rising' if up else 'falling']} of {counted(row['n'], 'seed')}"


def trend_told(row: TableRow, name: str) -> str:
    """Return whether a quantity rises or falls with the levels, as a predicate."""
    tau = numbers.correlation(row["tau"], row["tau_low"], row["tau_high"])
    found = f"mean tau {tau}, {share_of_seeds(row)}"
    if not row["rising"] + row["falling"]:
        return "no seed moves with the levels"
    if not row["p_adjusted_smallest"] <= ALPHA:
        least = numbers.p_value(row["p_adjusted_smallest"])
        return (
            f"no trend could be significant, since the smallest p of {counted(row['n'], 'seed')} is {least} ({found})"
        )
    p = f"p\u00a0=\u00a0{numbers.p_value(row['p_adjusted'])}".replace("=\u00a0< ", "<\u00a0")
    if not row["significant"]:
        return f"no trend with {name} is seen ({found}, {p})"
    return f"it {'rises' if row['tau'] > 0 else 'falls'} with {name} ({found}, {p})"


def matched_row(table: pd.DataFrame, row: TableRow) -> TableRow | None:
    """Return the row of a quantity at the smallest matched loss that has a change; None where none has."""
    there = table[(table["quantity"] == row["quantity"]) & (table["at"] != END) & table["change"].notna()]
    if there.empty:
        return None
    return records(there.loc[[pd.to_numeric(there["at"]).idxmin()]])[0]


def left_told(there: TableRow, row: TableRow) -> str:
    """Return what remains of a change at equal train loss, as a phrase; empty where its seeds give no interval."""
    if there["n"] < LEAST_SEEDS:
        return f"it is {change(there)}" if became(there, row) else ""
    told = {
        REMAINS: f"{change(there)} remains{_share(there)}",
        NOT_SEEN: f"no change is seen ({change(there)})",
        TURNED: f"it goes the other way ({change(there)})",
        APPEARS: f"a change of {change(there)} appears that is not seen at the end",
    }
    return told.get(became(there, row), "")


def _share(there: TableRow) -> str:
    share = share_text(there)
    return f", {share} of that at the end" if share else ""


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
    told = [_size(results, row), *_course(results, row), *_first_levels(results, row), *_left(table, row)]
    told += [*_partial(results, row), *_bookkeeping(parts, row), *_left_out(row)]
    return " ".join(told)


def _size(results: StudyResults, row: TableRow) -> str:
    trend = trend_told(row, key_of(results))
    if not math.isfinite(row["change"]):
        return f"{trend[0].upper()}{trend[1:]}; too few levels lie on {row['h']} for a size."
    ends = levels_told(results, row["line_first"], row["line_last"])
    few = "" if row["n"] >= LEAST_SEEDS or not math.isfinite(row["ci_low"]) else _range(row)
    return f"End to end {change(row)}, from {ends}{few}; {trend}."


def _range(row: TableRow) -> str:
    return (
        f" (the range of {counted(row['n'], 'seed')}, which holds the truth in {100 * row['ci_level']:.0f}% of cases)"
    )


def _course(results: StudyResults, row: TableRow) -> list[str]:
    if row["shape"] == NOT_MONOTONE:
        return ["Its course is not monotone: steps between adjacent levels are significant both up and down."]
    same = 1.0 if row["scale"] == "ratio" else 0.0
    if not (row["bend_low"] > same or row["bend_high"] < same) or row["n"] < LEAST_SEEDS:
        return []
    bend = numbers.change(row["scale"], row["bend"], row["bend_low"], row["bend_high"])
    return [f"Its course bends: in the middle it lies {bend} off the straight line over {row['h']}."]


def _first_levels(results: StudyResults, row: TableRow) -> list[str]:
    factor = results.factor
    named = [level for level in (row["differs_below"], row["differs_above"]) if level]
    if not named:
        return []
    from_ = [
        f"from {level} {'on' if side == 'differs_above' else 'down'}"
        for side in ("differs_above", "differs_below")
        if (level := row[side])
    ]
    return [f"It differs from {factor.told(factor.reference)} {joined(from_)}."]


def _left(table: pd.DataFrame, row: TableRow) -> list[str]:
    there = matched_row(table, row)
    told = left_told(there, row) if there is not None else ""
    if there is None or not told:
        return []
    narrower = (there["line_first"], there["line_last"]) != (row["line_first"], row["line_last"])
    where = f", from {there['line_first']} to {there['line_last']}" if narrower else ""
    return [f"At equal train loss ({there['at']}{where}), {told}."]


def _partial(results: StudyResults, row: TableRow) -> list[str]:
    if not row["partial_n"] > 0 or not math.isfinite(row["partial_low"]):
        return []
    rho = numbers.correlation(row["partial"], row["partial_low"], row["partial_high"])
    of = "" if row["partial_n"] == row["n"] else f" in the {counted(int(row['partial_n']), 'seed')} where it is defined"
    return [f"Given the train loss of each run, it ranks with the levels by {rho} within seeds{of}."]


def _bookkeeping(parts: pd.DataFrame, row: TableRow) -> list[str]:
    found = by(parts[parts["quantity"] == row["quantity"]], "part")
    if not found or not all(math.isfinite(found[part]["ci_low"]) for part in PARTS):
        return []
    through, rest = (change(found[part]) for part in PARTS[1:])
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


def told_dose(results: StudyResults, table: pd.DataFrame) -> tuple[str, str]:
    """Return what primary quantities do from end to end, and what remains of it in sharpness at equal train loss.

    The first is empty where no trend could be significant, or there is none to tell; the second where no loss was
    matched, too.
    """
    rows = [row for row in asked(table) if row["p_adjusted_smallest"] <= ALPHA and math.isfinite(row["change"])]
    if not rows:
        return "", ""
    real = [row for row in rows if row["significant"]]
    still = [label_of(results, row["quantity"]) for row in rows if not row["significant"]]
    if not real:
        none = still[0] if len(still) == 1 else f"any of {joined(still)}"
        return f"No trend with {key_of(results)} is seen in {none}.", ""
    told = [
        f"{label_of(results, row['quantity'])} {'' if k else 'changes '}by {change(row)} ({_verdict(results, row)})"
        for k, row in enumerate(real)
    ]
    rest = f"; {joined(still)} {'shows' if len(still) == 1 else 'show'} no trend" if still else ""
    ends = levels_told(results, real[0]["line_first"], real[0]["line_last"])
    return f"From {ends}, {joined(told)}{rest}.", _at_equal_loss(results, table, real)


def _verdict(results: StudyResults, row: TableRow) -> str:
    return results.quantities[row["quantity"]].verdict(row["tau"])


def _at_equal_loss(results: StudyResults, table: pd.DataFrame, real: list[TableRow]) -> str:
    sharp = [row for row in real if row["kind"] == "sharpness"]
    told: dict[str, list[str]] = {}
    for row in sharp:
        there = matched_row(table, row)
        if there is None:
            continue
        if phrase := left_told(there, row):
            told.setdefault(str(there["at"]), []).append(f"of {label_of(results, row['quantity'])} {phrase}")
    return " ".join(f"At equal train loss ({loss}), {'; '.join(parts)}." for loss, parts in told.items())


def verdicts(results: StudyResults, shares: pd.DataFrame) -> list[str]:
    """Return, of each measure of sharpness, how much loss, complexity and the factor explain: in both orders.

    Args:
        results: What the study found.
        shares: See ``shares_table``.
    """
    told = []
    for (measure, complexity), part in shares.groupby(["measure", "complexity"], sort=False):
        label = label_of(results, str(measure))
        if (part["predictor"] == "").all():
            told.append(
                f"How much of {label} loss{', complexity' if complexity else ''} and {key_of(results)} explain cannot "
                f"be told apart: within seeds they go together (condition number "
                f"{numbers.fixed(float(part['condition'].iloc[0]), 0)})."
            )
            continue
        names = {"loss": "loss", "dose": key_of(results)}
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
