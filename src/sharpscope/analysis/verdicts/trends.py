"""Do quantities move along ordered levels as a claim predicts?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sharpscope.analysis.dose.axis import Axis, axis_of
from sharpscope.analysis.dose.claimed import (
    FoundTrend,
    change_at_end,
    column_at_equal_confidence,
    column_at_equal_loss,
    found_trends,
)
from sharpscope.analysis.tested import LEAST_SEEDS
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts.contrasts import sign_of
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.studied import loss_of, unlike_at_end, unlike_note
from sharpscope.analysis.verdicts.verdict import CONDITIONS, CONFIDENCE, END, LOSS, Finding, TestedPrediction
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Trend

_STREAM = NumpyStream(0, "analysis", "claims")


@KINDS.register(facts=KindFacts("From level to level"))
def trend(values: Values, claim: Claim, predictions: Sequence[Trend]) -> Iterator[TestedPrediction]:
    """Yield the tests of all trends of a claim along levels that have an order; one family under each condition."""
    results, axis = values.results, axis_of(values.results)
    asked = [(name, one.trend) for one in predictions for name in one.quantities if name in results.measured]
    if axis is None:
        return
    columns: dict[str, list[str | None]] = {
        END: [name for name, _ in asked],
        LOSS: [column_at_equal_loss(values, axis, name) for name, _ in asked],
        CONFIDENCE: [column_at_equal_confidence(results, name) for name, _ in asked],
    }
    under = {
        condition: found_trends(
            values, axis, {i: (asked[i][0], c) for i, c in enumerate(columns[condition]) if c}, _STREAM
        )
        for condition in claim.conditions
    }
    for i, (name, predicted) in enumerate(asked):
        made = {condition: of[i] for condition, of in under.items() if i in of}
        if END not in made:
            continue
        found = {}
        for condition, one in made.items():
            low, value, high = (one.scaled.back(v) for v in (one.change.low, one.change.value, one.change.high))
            favor = one.direction * sign_of(results.quantities[name], predicted)
            at = loss_of(results, str(columns[condition][i]), condition)
            found[condition] = Finding(
                one.scaled.scale, value, low, high, one.change.n, favor, at, can=one.seeds >= LEAST_SEEDS
            )
        levels = made[END].levels
        notes = [
            _beside_the_end(values, axis, name, str(columns[at][i]), at, (one.levels, levels))
            for at, one in made.items()
            if at != END
        ]
        told = f"{levels}, {predicted}"
        yield TestedPrediction(
            "trend",
            name,
            levels,
            told,
            results.reference,
            predicted,
            found,
            claim.controls,
            note=" ".join(filter(None, (_turning(made), *notes))),
            stated=claim.at,
        )


def _beside_the_end(values: Values, axis: Axis, name: str, column: str, condition: str, levels: tuple[str, str]) -> str:
    """Return what the size under a condition is to be read beside, if not beside that at the end as it is told.

    That is where it is told on another scale, or between other levels.

    Args:
        values: The numbers of the study.
        axis: Its levels.
        name: The quantity at the end.
        column: The same under the condition.
        condition: The condition.
        levels: Between which levels the size is under the condition, and at the end.
    """
    there, at_end = levels
    unlike = unlike_at_end(values, name, column) is not None
    if not unlike and there == at_end:
        return ""
    change, of_both = change_at_end(values, axis, name, column)
    told = [unlike_note(values, column, condition, change)] if unlike else []
    if there != at_end:
        end = f", where the end is {change}" if there == of_both and not unlike else ""
        told.append(f"At {CONDITIONS[condition]} from {there}{end}.")
    return " ".join(told)


def _turning(made: Mapping[str, FoundTrend]) -> str:
    """Return under which conditions a course has no one direction, in a sentence."""
    turning = [CONDITIONS[condition] for condition, one in made.items() if one.turns]
    return (
        f"Not monotone at {' and at '.join(turning)}: some steps go significantly up, others down." if turning else ""
    )
