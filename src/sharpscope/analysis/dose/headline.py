"""What a study of an ordered factor found, in the sentences at the top of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from sharpscope.analysis.dose.told import (
    HELD_BY_TWINS,
    asked,
    change,
    held_row,
    left_told,
    levels_told,
    losses_of,
    range_told,
)
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.explanations.confidence import CLOSEST
from sharpscope.analysis.results import StudyResults, TableRow
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.wording import joined, label_of


def told_dose(results: StudyResults, table: pd.DataFrame) -> tuple[str, str, str]:
    """Return what primary quantities do from end to end, and what remains in sharpness at equal loss and confidence.

    The first is empty where no trend could be significant, or there is none to tell; the others where nothing was held
    equal, too.

    Args:
        results: What the study found.
        table: See ``dose_table``.
    """
    rows = [row for row in asked(table) if row["p_adjusted_smallest"] <= ALPHA and math.isfinite(row["change"])]
    if not rows:
        return "", "", ""
    turned = [row for row in rows if row["shape"] == NOT_MONOTONE]
    moved = [row for row in rows if row["significant"] and row not in turned]
    sharp = [row for row in (*moved, *turned) if row["kind"] == "sharpness"]
    return (
        _ends(results, rows, moved, turned),
        _at_equal_loss(results, table, sharp),
        _at_equal_confidence(results, table, sharp),
    )


def _ends(results: StudyResults, rows: list[TableRow], moved: list[TableRow], turned: list[TableRow]) -> str:
    still = [row for row in rows if row not in moved and row not in turned]
    parts = [_moved(results, moved)] if moved else []
    parts += [f"{_labels(results, turned)} {_verb(turned, 'goes', 'go')} up and down with the levels"] if turned else []
    if still and not parts:
        of = f"{'any of ' if len(still) > 1 else ''}{_labels(results, still)}"
        return f"No trend with {rows[0]['factor']} is seen in {of}."
    parts += [f"{_labels(results, still)} {_verb(still, 'shows', 'show')} no trend"] if still else []
    return f"From {levels_told(rows[0])}, {'; '.join(parts)}."


def _moved(results: StudyResults, rows: list[TableRow]) -> str:
    return joined(
        [
            f"{label_of(results, row['quantity'])} {'' if k else 'changes '}by {change(row)} "
            f"({results.quantities[row['quantity']].verdict(row['tau'])})"
            for k, row in enumerate(rows)
        ]
    )


def _labels(results: StudyResults, rows: Iterable[TableRow]) -> str:
    return joined([label_of(results, row["quantity"]) for row in rows])


def _verb(rows: Sequence[TableRow], one: str, several: str) -> str:
    return one if len(rows) == 1 else several


def _at_equal_loss(results: StudyResults, table: pd.DataFrame, rows: list[TableRow]) -> str:
    told: dict[str, list[str]] = {}
    for row in rows:
        there = held_row(table, row, losses_of(results))
        if there is not None and (phrase := left_told(results, there, row)):
            place = f"At equal train loss ({there['at']}{range_told(there, row)})"
            told.setdefault(place, []).append(f"of {label_of(results, row['quantity'])} {phrase}")
    return _joined(told)


def _at_equal_confidence(results: StudyResults, table: pd.DataFrame, rows: list[TableRow]) -> str:
    told: dict[str, list[str]] = {}
    for row in rows:
        there = held_row(table, row, CLOSEST)
        if there is not None and (phrase := left_told(results, there, row)):
            place = f"{HELD_BY_TWINS[there['at']]}{range_told(there, row)}"
            told.setdefault(place, []).append(f"of {label_of(results, row['quantity'])} {phrase}")
    return _joined(told)


def _joined(told: dict[str, list[str]]) -> str:
    return " ".join(f"{place}, {'; '.join(phrases)}." for place, phrases in told.items())
