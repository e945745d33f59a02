"""Is it complexity? The answer in sentences, and of what nothing is concluded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.complexity import (
    ENTROPY,
    HEAD_NORM,
    ON_COMPLEXITY,
    ORDERS,
    asked,
    moved_by,
    over_levels,
)
from sharpscope.analysis.explanations.concluded import set_aside, share
from sharpscope.analysis.explanations.manipulation import TREND
from sharpscope.analysis.results import StudyResults, TableRow, by, records
from sharpscope.analysis.values import Values
from sharpscope.analysis.wording import cells_told, counted, difference_text, joined, label_of
from sharpscope.store.snapshots import CALIBRATED, END, MATCHED

_TWINS = {CALIBRATED: "with all networks calibrated", MATCHED: "at equal confidence"}
_BESIDE = {ENTROPY: "given the entropy of predictions too", HEAD_NORM: "given the head norm too"}


def checks(results: StudyResults, moves: pd.DataFrame) -> list[str]:
    """Return whether the factor moves each measure of complexity, and which pairs are not looked at."""
    told = [
        " ".join(_check(results, str(name), str(at), part) for at, part in of_name.groupby("at", sort=False))
        for name, of_name in moves.groupby("complexity", sort=False)
    ]
    return [*told, *_not_comparable(results, moves)]


def _check(results: StudyResults, name: str, at: str, part: pd.DataFrame) -> str:
    factor, label = results.factor, label_of(results, name)
    where = "at the end of training" if at == END else f"at train loss {at}"
    real = records(part[part["significant"]])
    if part["n"].eq(0).all():
        return (
            f"Whether the {factor.noun} moves {label} {where} cannot be tested: no seed has three levels of it there."
        )
    if not real and not part["reachable"].any():
        seeds = counted(int(part["n"].max()), "seed")
        return (
            f"Whether the {factor.noun} moves {label} {where} cannot be tested with {seeds}: this describes these runs."
        )
    if not real:
        tests = "the trend is not" if part["level"].eq(TREND).any() else f"none of {counted(len(part), 'contrast')} is"
        return (
            f"The {factor.noun} is not seen to move {label} {where} ({tests} significant): nothing more is said of it."
        )
    if real[0]["level"] == TREND:
        return f"{_sentence_case(label)} {_course(real[0], factor.noun, where)}."
    differ = joined([f"{row['level']} ({difference_text(row)})" for row in real])
    same = [str(level) for level in part.loc[~part["significant"], "level"]]
    besides = f"; it is not seen to in {joined(same)}" if same else ""
    reference = factor.told(results.reference)
    return f"{_sentence_case(label)} differs {where} from that of {reference} in {differ}{besides}."


def _course(row: TableRow, noun: str, where: str) -> str:
    """Return how a measure of complexity moves along levels that have an order, as a predicate."""
    tau = numbers.correlation(row["difference"], row["ci_low"], row["ci_high"])
    extremes = f"it is highest at {row['highest']} and lowest at {row['lowest']}"
    if row["turns"]:
        return (
            f"is not monotone along the {noun} {where}: steps between adjacent levels are significant both up and "
            f"down; {extremes} (mean Kendall’s τ\u00a0=\u00a0{tau})"
        )
    rises = row["difference"] > 0
    in_order = (row["first"], row["last"]) == (row["lowest"], row["highest"])[:: 1 if rises else -1]
    but = "" if in_order else f", though {extremes}"
    return f"{'rises' if rises else 'falls'} with the {noun} {where} (Kendall’s τ\u00a0=\u00a0{tau}){but}"


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _not_comparable(results: StudyResults, moves: pd.DataFrame) -> Iterable[str]:
    """Yield which measures of complexity move where the predictions and sharpness stay, and what comes of it."""
    others = set_aside(results, moves)
    measures, complexities = asked(results)
    for complexity in complexities:
        changes_of = {y: changes for y in measures if (changes := moved_by(results, y, complexity))}
        if not changes_of:
            continue
        named = joined(list(dict.fromkeys(change for found in changes_of.values() for change in found)))
        label = _sentence_case(label_of(results, complexity))
        stay = joined(["predictions", *(label_of(results, measure) for measure in changes_of)])
        then = "read their relation with care"
        if all((measure, complexity) in others for measure in changes_of):
            then = "a measure of complexity that stays too is set against them instead"
        yield f"{label} moves under a change that leaves {stay} as they are ({named}): {then}."


def verdicts(results: StudyResults, shares: pd.DataFrame, partials: pd.DataFrame) -> list[str]:
    """Return, of each measure of sharpness and of complexity, what explains how much of it, in both orders.

    Args:
        results: What the study found.
        shares: What is concluded from; see ``variation_table``.
        partials: Likewise; see ``partial_table``.
    """
    values, told = Values(results), []
    for key, part in shares[(shares["twin"] == "") & (shares["at"] == END)].groupby(
        ["measure", "complexity"], sort=False
    ):
        measure, complexity = map(str, key)
        first, second, last = (by(part[part["order"] == order], "predictor") for order in ORDERS)
        name = f"{'log ' if values.scaled(measure).scale == 'ratio' else ''}{label_of(results, measure)}"
        if not math.isfinite(first["loss"]["share"]):
            told.append(f"Of the variation of {name} nothing can be told: no two runs of one seed differ in it.")
            continue
        function, noun = label_of(results, complexity), results.factor.noun
        same = (shares["measure"] == measure) & (shares["complexity"] == complexity) & (shares["twin"] == "")
        related = partials[(partials["measure"] == measure) & (partials["complexity"] == complexity)]
        told.append(
            f"Loss explains {share(first['loss'])} of the variation of {name} over runs of one seed, {function} a "
            f"further {share(first['complexity'])}, the {noun} a further {share(first['level'])}. The other way round, "
            f"{function} explains {share(second['complexity'])}, loss a further {share(second['loss'])}. "
            f"After loss and {noun}, {function} explains {share(last['complexity'])}."
            f"{'' if math.isfinite(first['loss']['ci_low']) else ' There are too few seeds for intervals.'}"
            f"{_at_losses(function, noun, shares[same])}{_within(results, function, related)}"
        )
    return told


def _at_losses(function: str, noun: str, shares: pd.DataFrame) -> str:
    """Return what complexity explains at matched losses: first, after the loss that is left to differ, and last."""
    told = []
    for at, part in shares[shares["at"] != END].groupby("at", sort=False):
        rows = by(part[part["predictor"] == "complexity"], "order")
        then, first, last = (share(rows[order]) for order in ORDERS)
        told.append(
            f" At train loss {at}, {function} explains {first} first, {then} after the loss, and {last} after loss and "
            f"{noun}."
        )
    return "".join(told)


def _within(results: StudyResults, function: str, partials: pd.DataFrame) -> str:
    """Return how sharpness goes with complexity given the loss, and whether it does so under controls."""
    found: Mapping[tuple[str, str, str], TableRow] = {
        (row["at"], row["twin"], row["beside"]): row
        for row in records(partials[partials["relation"] == ON_COMPLEXITY])
        if math.isfinite(row["ci_low"])
    }
    end = found.get((END, "", ""))
    if end is None:
        return ""
    rho = numbers.correlation(end["correlation"], end["ci_low"], end["ci_high"])
    inside = f"Within {cells_told(results)} it ranks with {function} at ρ"
    if over_levels(results):
        inside = f"Over the levels of a seed it goes with {function} at r"
    told = f" {inside}\u00a0=\u00a0{rho} given the loss"
    if not _side(end):
        return f"{told}: no relation is seen there beside that with the loss."
    controls = {_control(*place): _side(row) == _side(end) for place, row in found.items() if place != (END, "", "")}
    kept, lost = ([name for name, same in controls.items() if same is wanted] for wanted in (True, False))
    if kept:
        told += f", and so it does {joined(kept)}"
    if lost:
        told += f"{'; not' if kept else ', but not'} {joined(lost)}, which may be all that it comes from"
    return f"{told}."


def _control(at: str, twin: str, beside: str) -> str:
    return _TWINS.get(twin) or _BESIDE.get(beside) or f"at train loss {at}"


def _side(row: TableRow) -> int:
    return int(row["ci_low"] > 0) - int(row["ci_high"] < 0)
