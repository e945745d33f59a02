"""Do levels differ as a claim predicts?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.same_runs import once, same_levels
from sharpscope.analysis.statistics import hodges_lehmann, study_wide, westfall_young
from sharpscope.analysis.statistics.power import POWER, found_by_signed_rank, normal_values, power
from sharpscope.analysis.tested import ALPHA, LEAST_SEEDS
from sharpscope.analysis.values import Scaled, Values
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.studied import (
    TRIED_SEEDS,
    column_under,
    levels_named,
    loss_of,
    unlike_at_end,
    unlike_note,
)
from sharpscope.analysis.verdicts.verdict import END, Finding, TestedPrediction
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Contrast
from sharpscope.spec.predictions import ALL

_STREAM = NumpyStream(0, "analysis", "claims")
_HOW_MANY = "to judge how many seeds would tell"
_UP, _DOWN = {"sharper", "better", "larger"}, {"flatter", "worse", "smaller"}


@dataclass(frozen=True)
class _Asked:
    """A difference that a claim predicts."""

    quantity: str
    level: str
    reference: str
    predicted: str


@KINDS.register(facts=KindFacts(""))
def contrast(values: Values, claim: Claim, predictions: Sequence[Contrast]) -> Iterator[TestedPrediction]:
    """Yield the tests of all contrasts of a claim; under each condition they are one family."""
    own, same = values.results.reference, same_levels(values.results)
    asked = [
        _Asked(quantity, level, reference, one.direction)
        for one in predictions
        for reference in levels_named(values, [one.reference or own])
        for level in once(same, _levels(values, one, reference))
        for quantity in one.quantities
        if quantity in values.results.measured
    ]
    under = {condition: _found(values, asked, condition) for condition in claim.conditions}
    for i, one in enumerate(asked):
        found = {condition: of[i] for condition, of in under.items() if i in of}
        if END in found:
            than = f" than {one.reference}" if one.reference != own else ""
            test = TestedPrediction(
                *("contrast", one.quantity, one.level, f"{one.level}, {one.predicted}{than}"),
                *(one.reference, one.predicted, found, claim.controls),
                stated=claim.at,
            )
            test = test if test.favor else _with_seeds(values, test, one, claim.at)
            notes = (note for at in found if at != END and (note := _unlike(values, one, at)))
            yield replace(test, note=" ".join(filter(None, (test.note, *notes))))


def _levels(values: Values, one: Contrast, reference: str) -> list[str]:
    named = values.levels if ALL in one.levels else levels_named(values, one.levels)
    return [level for level in named if level != reference]


def _found(values: Values, asked: list[_Asked], condition: str) -> dict[int, Finding]:
    """Return what the study says of each difference under one condition, by its place among those asked for."""
    columns = (column_under(values.results, one.quantity, (one.level, one.reference), condition) for one in asked)
    kept = {i: column for i, column in enumerate(columns) if column is not None}
    scales = {i: values.alike(column, asked[i].quantity) for i, column in kept.items()}
    differences = {i: _differences(values, asked[i], column, scales[i]) for i, column in kept.items()}
    kept = {i: column for i, column in kept.items() if np.isfinite(differences[i]).any()}
    if not kept:
        return {}
    p = westfall_young(np.stack([differences[i] for i in kept]), _STREAM, alpha=ALPHA)
    found = {}
    for (i, column), adjusted in zip(kept.items(), p, strict=True):
        sign = sign_of(values.results.quantities[column], asked[i].predicted)
        found[i] = _contrast(
            differences[i], scales[i], sign, float(adjusted), loss_of(values.results, column, condition)
        )
    return found


def _contrast(differences: np.ndarray, scaled: Scaled, sign: int, p: float, at: str) -> Finding:
    interval = hodges_lehmann(differences, np.zeros(len(differences)))
    # What flips find is the mean, and a few seeds far off may carry that against the way of the others.
    one_way = interval.value * np.nanmean(differences) > 0
    favor = int(np.sign(interval.value)) * sign if p <= ALPHA and one_way else 0
    low, high = (scaled.back(end) for end in (interval.low, interval.high))
    can = interval.n >= LEAST_SEEDS
    return Finding(scaled.scale, scaled.back(interval.value), low, high, interval.n, favor, at, can)


def _unlike(values: Values, one: _Asked, condition: str) -> str:
    """Return what is told of a condition under which the difference is no factor as it is at the end, or nothing."""
    column = column_under(values.results, one.quantity, (one.level, one.reference), condition)
    scaled = unlike_at_end(values, one.quantity, column) if column is not None else None
    if column is None or scaled is None:
        return ""
    found = _contrast(_differences(values, one, one.quantity, scaled), scaled, 1, 1.0, "")
    return unlike_note(values, column, condition, numbers.change(found.scale, found.value, found.low, found.high))


def _differences(values: Values, one: _Asked, column: str, scaled: Scaled) -> np.ndarray:
    """Return level minus reference of each seed over all settings, on a scale."""
    own = values.results.reference
    # What is compared with another level than the study's reference differs from it as both differ from that.
    parts = [(sign, name) for sign, name in ((1, one.level), (-1, one.reference)) if name != own]
    by_setting = sum(sign * values.differences(column, name, scaled) for sign, name in parts)
    return study_wide(np.asarray(by_setting)).values


def sign_of(quantity: Quantity, predicted: str) -> int:
    """Return whether larger values are what is predicted, +1, or smaller ones, -1."""
    sign = 1 if predicted in _UP else -1
    if predicted in ("larger", "smaller"):
        return sign
    return sign * (quantity.orientation or 1)


def _with_seeds(values: Values, test: TestedPrediction, one: _Asked, condition: str) -> TestedPrediction:
    """Return a test that cannot tell with how many seeds would, or why that is not known."""
    column = column_under(values.results, one.quantity, (one.level, one.reference), condition)
    found = np.array([]) if column is None else _differences(values, one, column, values.alike(column, one.quantity))
    present = found[np.isfinite(found)]
    if not len(present):
        return test
    if len(present) == 1:
        return replace(test, note=f"One seed has no spread by which {_HOW_MANY}.")
    if not np.ptp(present) > 0:
        same = f"The difference is the same in all {len(present)} seeds"
        return replace(test, note=f"{same}, so there is no spread by which {_HOW_MANY}.")
    return replace(test, seeds=_seeds(present))


def _seeds(present: np.ndarray) -> float:
    """Return about how many seeds it takes to find a difference like the one observed in four of five studies.

    Args:
        present: The differences of the seeds that have one; they are not all the same.
    """
    effect, found = abs(float(present.mean())) / float(present.std(ddof=1)), found_by_signed_rank(ALPHA)
    drawn = ((n, normal_values(n, _STREAM.child("power"))) for n in TRIED_SEEDS if n > len(present))
    return next((n for n, values in drawn if power(found, values, effect) >= POWER), math.inf)
