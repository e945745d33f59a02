"""Do quantities move together as a claim predicts?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sharpscope.analysis.correlations import LOSS as TRAIN_LOSS
from sharpscope.analysis.explanations.confidence import CLOSEST, twin_column, twin_columns
from sharpscope.analysis.same_runs import counted_once
from sharpscope.analysis.statistics.relations import Design, within_cells
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
    and outcome are those of a twin, as far as its outcome is another one.
    """
    values = Values(counted_once(values.results))
    measured = values.results.measured
    for one in predictions:
        for name in (name for name in one.quantities if name in measured):
            for outcome in (outcome for outcome in one.outcomes if outcome in measured):
                found = dict(_under_all(values, claim, one, name, outcome))
                if END in found:
                    told = f"with {values.results.quantities[outcome].label}"
                    yield TestedPrediction("relation", name, outcome, told, "", one.sign, found, claim.controls)


def _under_all(values: Values, claim: Claim, one: Relation, name: str, outcome: str) -> Iterator[tuple[str, Finding]]:
    """Yield each condition of a claim that the study can make, with what it says of the relation then."""
    results = values.results
    for condition in claim.conditions:
        columns = [name, outcome, TRAIN_LOSS]
        if condition == CONFIDENCE:
            twin = next((twin for twin in CLOSEST if twin_column(results, name, twin) is not None), None)
            if twin is None:
                continue
            columns = twin_columns(results, columns, twin)
        found = _found(values, *columns, given_loss=one.given_loss or condition == LOSS)
        if math.isfinite(found.value):
            yield condition, replace(found, favor=found.favor * (1 if one.sign == "positive" else -1))


def _found(values: Values, name: str, outcome: str, loss: str, *, given_loss: bool) -> Finding:
    """Return how two columns rank within cells, with the side of zero on which the interval lies."""
    settings, levels, seeds = values.places
    table = values.results.runs[[name, outcome, loss]].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    x, y, given = table[rows].T
    design = Design(seeds[rows], levels[rows], settings[rows])
    found = within_cells(x[None], y[None], given, design, _STREAM.child("relations", name, outcome))
    bounds = found.partial if given_loss else found.plain
    value, low, high = (float(part[0, 0]) for part in (bounds.value, bounds.low, bounds.high))
    return Finding("correlation", value, low, high, len(np.unique(seeds[rows])), int(low > 0) - int(high < 0))
