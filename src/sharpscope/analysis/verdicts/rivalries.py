"""Do some quantities explain more than others, as a claim predicts?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import LOSS as TRAIN_LOSS
from sharpscope.analysis.explanations.confidence import CLOSEST, twin_column, twin_columns
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import counted_once
from sharpscope.analysis.statistics import Partition, holm, partition
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.verdict import CONFIDENCE, END, LOSS, Finding, TestedPrediction
from sharpscope.analysis.wording import joined, label_of
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Rivalry

_STREAM = NumpyStream(0, "analysis", "claims", "rivalries")
_PREDICTED = "explains more"


@KINDS.register(facts=KindFacts("Explained"))
def rivalry(values: Values, claim: Claim, predictions: Sequence[Rivalry]) -> Iterator[TestedPrediction]:
    """Yield the tests of which quantities explain more of an outcome between runs of one seed and setting.

    What is tested is the share that the first explain by themselves minus that of the others, which is also the
    difference of their means over both orders (LMG), with its interval over seeds. Under the control of the train loss,
    that enters before both; under that of confidence, quantities are those of a twin, where the outcome and one of each
    side are others of it. Shares are of the adjusted R^2, so that more quantities explain no more by their number. All
    rivalries of a claim are one family under each condition, corrected by Holm.
    """
    values = Values(counted_once(values.results))
    measured = set(values.results.measured)
    kept = [limited for one in predictions if (limited := one.limited(measured)) is not None]
    asked = [(one, outcome) for one in kept for outcome in one.explain_more_of]
    explained = [dict(_under_all(values, claim, one, outcome)) for one, outcome in asked]
    under = {condition: _found(explained, condition) for condition in claim.conditions}
    for i, (one, outcome) in enumerate(asked):
        found = {condition: of[i] for condition, of in under.items() if i in of}
        if END in found:
            told = _told(values.results, one, explained[i][END][0])
            others = f"{' + '.join(one.quantities)} > {' + '.join(one.than)}"
            yield TestedPrediction("rivalry", outcome, others, told, "", _PREDICTED, found, claim.controls)


def _under_all(values: Values, claim: Claim, one: Rivalry, outcome: str) -> Iterator[tuple[str, tuple[Partition, int]]]:
    """Yield each condition of a claim that the study can make, with the shares then, and of how many seeds."""
    results, names = values.results, (outcome, *one.quantities, *one.than)
    yield END, _explained(values, one, names, given="")
    if LOSS in claim.controls and TRAIN_LOSS in results.measured:
        yield LOSS, _explained(values, one, names, given=TRAIN_LOSS)
    sides = ((outcome,), one.quantities, one.than)
    twins = (twin for twin in CLOSEST if all(_has_any(results, side, twin) for side in sides))
    if CONFIDENCE in claim.controls and (twin := next(twins, None)) is not None:
        yield CONFIDENCE, _explained(values, one, twin_columns(results, names, twin), given="")


def _has_any(results: StudyResults, names: Sequence[str], twin: str) -> bool:
    return any(twin_column(results, name, twin) is not None for name in names)


def _explained(values: Values, one: Rivalry, columns: Sequence[str], *, given: str) -> tuple[Partition, int]:
    """Return the shares that the two sides explain of an outcome, and of how many seeds.

    Args:
        values: The numbers of the study.
        one: The prediction.
        columns: Of the outcome, then of the quantities of the first side and of the second.
        given: The column that enters before both; empty for none.
    """
    names = [*columns, *([given] if given else [])]
    runs = values.results.runs[names]
    rows = np.flatnonzero(np.isfinite(runs.to_numpy(float)).all(axis=1))
    scaled = {name: values.scaled(name).forward(runs[name].to_numpy(float)[rows]) for name in names}
    settings, _, seeds = (place[rows] for place in values.places)
    first = 1 + len(one.quantities)
    sides = [np.stack([scaled[name] for name in side], axis=1) for side in (columns[1:first], columns[first:])]
    found = partition(
        scaled[columns[0]],
        sides,
        settings * len(values.seeds) + seeds,
        seeds,
        _STREAM,
        given=scaled[given][:, None] if given else None,
    )
    return found, len(np.unique(seeds))


def _found(explained: Sequence[Mapping[str, tuple[Partition, int]]], condition: str) -> dict[int, Finding]:
    """Return what the study says of each rivalry under one condition, by its place among those asked for."""
    made = {i: of[condition] for i, of in enumerate(explained) if condition in of}
    made = {i: (of, seeds) for i, (of, seeds) in made.items() if math.isfinite(of.differences.value[0, 1])}
    p = holm(np.array([of.differences.p(seeds)[0, 1] for of, seeds in made.values()]))
    return {i: _finding(of, seeds, float(adjusted)) for (i, (of, seeds)), adjusted in zip(made.items(), p, strict=True)}


def _finding(found: Partition, seeds: int, p: float) -> Finding:
    between = found.differences
    value, low, high = (float(part[0, 1]) for part in (between.value, between.low, between.high))
    favor = int(between.sign[0, 1]) if p <= ALPHA else 0
    return Finding("share", value, low, high, seeds, favor, can=math.isfinite(low))


def _told(results: StudyResults, one: Rivalry, found: Partition) -> str:
    """Return the two sides, each with what it explains by itself."""
    sides = []
    for order, names in zip(((0, 1), (1, 0)), (one.quantities, one.than), strict=True):
        alone = float(found.steps.value[found.orders.index(order), 0])
        labels = joined([label_of(results, name) for name in names])
        sides.append(f"{labels} ({numbers.fixed(100 * max(alone, 0.0), 0)}%)")
    return f"more by {sides[0]} than by {sides[1]}"
