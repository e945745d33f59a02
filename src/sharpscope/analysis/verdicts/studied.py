"""What a study has of what a claim speaks of: its levels, and the columns of a quantity under a condition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sharpscope.analysis.explanations.confidence import CLOSEST, twin_column
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.values import Scaled, Values
from sharpscope.analysis.verdicts.verdict import CONDITIONS, CONFIDENCE, END, LOSS, MOST_SEEDS
from sharpscope.analysis.wording import no_ratio
from sharpscope.spec import Prediction

# Of these numbers of seeds a report says that so many would tell, where the study itself cannot.
TRIED_SEEDS = (5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30, 40, 50, 70, 100, 140, MOST_SEEDS)


def levels_named(values: Values, names: Iterable[str]) -> list[str]:
    """Return the levels of the study that a claim means: by their whole name, or without their options."""
    return [level for level in values.levels if any(name in (level, level.partition("(")[0]) for name in names)]


def lacking(values: Values, predictions: Iterable[Prediction]) -> tuple[str, ...]:
    """Return the levels that predictions call by their names and the study does not have."""
    named = {level for one in predictions for level in one.named}
    return tuple(sorted(level for level in named if not levels_named(values, [level])))


def column_under(results: StudyResults, quantity: str, levels: Sequence[str], condition: str) -> str | None:
    """Return the column that has a quantity under a condition; None where the study has none.

    At equal train loss it is the loss that most runs of these levels have reached, of several the smallest.

    Args:
        results: What the study found.
        quantity: The column at the end of training.
        levels: Which levels are compared.
        condition: The condition.
    """
    if condition == END:
        return quantity
    if condition == CONFIDENCE:
        of_twins = (twin_column(results, quantity, twin) for twin in CLOSEST)
        return next((column for column in of_twins if column is not None), None)
    runs = results.runs[results.runs[results.factor.name].isin(levels)]
    columns = [column for loss, column in results.across(quantity).items() if loss]
    return max(columns, key=lambda column: (runs[column].count(), -_loss(results, column)), default=None)


def unlike_at_end(values: Values, quantity: str, column: str) -> Scaled | None:
    """Return the scale on which a quantity at the end stands beside a column in which ratios are given up.

    It is None where both are told as the quantity is at the end.
    """
    scaled = values.alike(quantity, column)
    return None if scaled.scale == values.scaled(quantity).scale else scaled


def unlike_note(values: Values, column: str, condition: str, end: str) -> str:
    """Return why a number under a condition is no factor as that at the end is, and how that reads in the same way.

    Args:
        values: The numbers of the study.
        column: The column under the condition.
        condition: The condition.
        end: The number at the end, told as that under the condition.
    """
    own = values.scaled(column)
    why = no_ratio(own.not_positive, own.values)
    return f"Told as a difference at {CONDITIONS[condition]}, since {why}; at the end that is {end}."


def _loss(results: StudyResults, column: str) -> float:
    return float(results.quantities[column].matched_loss)


def loss_of(results: StudyResults, column: str, condition: str) -> str:
    """Return the matched train loss of a column, where that is the condition."""
    return results.quantities[column].matched_loss if condition == LOSS else ""
