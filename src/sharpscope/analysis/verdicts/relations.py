"""Do quantities move together as a claim predicts?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sharpscope.analysis.correlations import LOSS as TRAIN_LOSS
from sharpscope.analysis.same_runs import counted_once
from sharpscope.analysis.statistics.relations import Design, within_cells
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.verdict import END, Finding, TestedPrediction
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Relation

_STREAM = NumpyStream(0, "analysis", "claims")


@KINDS.register(facts=KindFacts("Moves"))
def relation(values: Values, claim: Claim, predictions: Sequence[Relation]) -> Iterator[TestedPrediction]:
    """Yield the tests of how quantities move with outcomes within a level, given the train loss where that is asked."""
    values = Values(counted_once(values.results))
    measured = values.results.measured
    for one in predictions:
        for name in (name for name in one.quantities if name in measured):
            for outcome in (outcome for outcome in one.outcomes if outcome in measured):
                found = _found(values, one, name, outcome)
                if math.isfinite(found.value):
                    told = f"with {values.results.quantities[outcome].label}"
                    yield TestedPrediction("relation", name, outcome, told, "", one.sign, {END: found})


def _found(values: Values, one: Relation, name: str, outcome: str) -> Finding:
    settings, levels, seeds = values.places
    table = values.results.runs[[name, outcome, TRAIN_LOSS]].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    x, y, given = table[rows].T
    design = Design(seeds[rows], levels[rows], settings[rows])
    found = within_cells(x[None], y[None], given, design, _STREAM.child("relations", name, outcome))
    bounds = found.partial if one.given_loss else found.plain
    value, low, high = (float(part[0, 0]) for part in (bounds.value, bounds.low, bounds.high))
    favor = (int(low > 0) - int(high < 0)) * (1 if one.sign == "positive" else -1)
    return Finding("correlation", value, low, high, len(np.unique(seeds[rows])), favor)
