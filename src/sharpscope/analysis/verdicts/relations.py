"""Do quantities move together as a claim predicts?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.correlations import LOSS as TRAIN_LOSS
from sharpscope.analysis.explanations.confidence import CLOSEST, twin_column, twin_columns
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import counted_once
from sharpscope.analysis.statistics import Bounds, holm
from sharpscope.analysis.statistics.relations import Design, within_cells
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.verdict import CONFIDENCE, END, LOSS, Finding, TestedPrediction
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Relation

_STREAM = NumpyStream(0, "analysis", "claims")


@KINDS.register(facts=KindFacts("Moves"))
def relation(values: Values, claim: Claim, predictions: Sequence[Relation]) -> Iterator[TestedPrediction]:
    """Yield the tests of how quantities move with outcomes within a level, given the train loss where that is asked.

    Under the control of the train loss it is given, whether that is asked or not; under that of confidence, quantity
    and outcome are those of a twin, as far as its outcome is another one. All relations of a claim are one family under
    each condition, corrected by Holm.
    """
    values = Values(counted_once(values.results))
    asked = list(_asked(values.results, predictions))
    under = {condition: _under(values, asked, condition) for condition in claim.conditions}
    for i, one in enumerate(asked):
        found = {condition: of[i] for condition, of in under.items() if i in of}
        if END in found:
            told = f"with {values.results.quantities[one.outcome].label}"
            yield TestedPrediction("relation", one.quantity, one.outcome, told, "", one.sign, found, claim.controls)


@dataclass(frozen=True)
class _Asked:
    """One relation that a claim predicts.

    Attributes:
        quantity: The column.
        outcome: What it moves with.
        sign: In which direction.
        given_loss: Whether the train loss is given.
    """

    quantity: str
    outcome: str
    sign: str
    given_loss: bool


def _asked(results: StudyResults, predictions: Sequence[Relation]) -> Iterator[_Asked]:
    for one in predictions:
        for name in (name for name in one.quantities if name in results.measured):
            for outcome in (outcome for outcome in one.outcomes if outcome in results.measured):
                yield _Asked(name, outcome, one.sign, one.given_loss)


def _under(values: Values, asked: Sequence[_Asked], condition: str) -> dict[int, Finding]:
    """Return what the study says of each relation under one condition, by its place among those asked for."""
    columns = {i: _columns(values.results, one, condition) for i, one in enumerate(asked)}
    found = {
        i: _bounds(values, *names, given_loss=asked[i].given_loss or condition == LOSS)
        for i, names in columns.items()
        if names is not None
    }
    found = {i: (bounds, n) for i, (bounds, n) in found.items() if math.isfinite(bounds.value)}
    p = holm(np.array([float(bounds.p(n)) for bounds, n in found.values()]))
    return {
        i: _finding(bounds, n, float(adjusted), asked[i].sign)
        for (i, (bounds, n)), adjusted in zip(found.items(), p, strict=True)
    }


def _columns(results: StudyResults, one: _Asked, condition: str) -> list[str] | None:
    """Return the columns of quantity, outcome and loss under a condition; None where the study cannot make it."""
    columns = [one.quantity, one.outcome, TRAIN_LOSS]
    if condition != CONFIDENCE:
        return columns
    twin = next((twin for twin in CLOSEST if twin_column(results, one.quantity, twin) is not None), None)
    return None if twin is None else twin_columns(results, columns, twin)


def _bounds(values: Values, name: str, outcome: str, loss: str, *, given_loss: bool) -> tuple[Bounds, int]:
    """Return how two columns rank within cells, and of how many seeds."""
    settings, levels, seeds = values.places
    table = values.results.runs[[name, outcome, loss]].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    x, y, given = table[rows].T
    design = Design(seeds[rows], levels[rows], settings[rows])
    found = within_cells(x[None], y[None], given, design, _STREAM.child("relations", name, outcome))
    bounds = found.partial if given_loss else found.plain
    return bounds.at(0).at(0), len(np.unique(seeds[rows]))


def _finding(bounds: Bounds, n: int, p: float, sign: str) -> Finding:
    favor = int(bounds.sign) * (1 if sign == "positive" else -1) if p <= ALPHA else 0
    can = math.isfinite(bounds.low)
    return Finding("correlation", float(bounds.value), float(bounds.low), float(bounds.high), n, favor, can=can)
