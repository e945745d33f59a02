"""What a study of an ordered factor found, in the sentences at the top of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from sharpscope.analysis.dose.left import held_row, left_told, losses_of, where_told
from sharpscope.analysis.dose.sizes import bends, change, ends_told, levels_told
from sharpscope.analysis.dose.told import asked
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
    rows = _tested(table)
    if not rows:
        return "", "", ""
    moved, turned = _moved(rows), _turned(rows)
    sharp = [row for row in (*moved, *turned) if row["kind"] == "sharpness"]
    return (
        _from_end_to_end(results, rows) if moved or turned else _no_trend(results, rows),
        _left(results, table, sharp, losses_of(results)),
        _left(results, table, sharp, CLOSEST),
    )


def trend_seen(table: pd.DataFrame) -> bool:
    """Return whether any primary quantity moves with the levels, in one direction or up and down."""
    rows = _tested(table)
    return bool(_moved(rows) or _turned(rows))


def _tested(table: pd.DataFrame) -> list[TableRow]:
    return [row for row in asked(table) if row["p_adjusted_smallest"] <= ALPHA and math.isfinite(row["change"])]


def _turned(rows: Iterable[TableRow]) -> list[TableRow]:
    return [row for row in rows if row["shape"] == NOT_MONOTONE]


def _moved(rows: Iterable[TableRow]) -> list[TableRow]:
    return [row for row in rows if row["significant"] and row["shape"] != NOT_MONOTONE]


def _no_trend(results: StudyResults, rows: list[TableRow]) -> str:
    of = f"{'any of ' if len(rows) > 1 else ''}{_labels(results, rows)}"
    return f"No trend with {rows[0]['factor']} is seen in {of}."


def _from_end_to_end(results: StudyResults, rows: list[TableRow]) -> str:
    """Return a sentence for each range of levels: where a level diverged, not all quantities have the same."""
    ranges: dict[str, list[TableRow]] = {}
    for row in rows:
        ranges.setdefault(levels_told(row), []).append(row)
    return " ".join(f"From {levels}, {'; '.join(_clauses(results, among))}." for levels, among in ranges.items())


def _clauses(results: StudyResults, rows: list[TableRow]) -> Iterator[str]:
    moved, turned = _moved(rows), _turned(rows)
    still = [row for row in rows if row not in moved and row not in turned]
    if moved:
        yield joined(
            [
                f"{label_of(results, row['quantity'])} {'' if k else 'changes '}by {_size(results, row)}"
                for k, row in enumerate(moved)
            ]
        )
    if turned:
        yield f"{_labels(results, turned)} {_verb(turned, 'goes', 'go')} up and down with the levels"
    if still:
        yield f"{_labels(results, still)} {_verb(still, 'shows', 'show')} no trend"


def _size(results: StudyResults, row: TableRow) -> str:
    verdict = results.quantities[row["quantity"]].verdict(row["tau"])
    if bends(row):
        return f"{ends_told(row)} ({verdict}; by a straight line {change(row)})"
    return f"{change(row)} ({verdict})"


def _labels(results: StudyResults, rows: Iterable[TableRow]) -> str:
    return joined([label_of(results, row["quantity"]) for row in rows])


def _verb(rows: Sequence[TableRow], one: str, several: str) -> str:
    return one if len(rows) == 1 else several


def _left(results: StudyResults, table: pd.DataFrame, rows: list[TableRow], places: Sequence[str]) -> str:
    """Return what is left of changes at the first of some places that has one, a sentence for each way to compare."""
    told: dict[str, list[str]] = {}
    for row in rows:
        there = held_row(table, row, places)
        if there is not None and (clause := left_told(results, there, row, label_of(results, row["quantity"]))):
            told.setdefault(where_told(there, row), []).append(clause)
    return " ".join(f"{where}, {'; '.join(clauses)}." for where, clauses in told.items())
