"""Trends that a published claim predicts, tested as one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.dose.courses import Course, course_of
from sharpscope.analysis.dose.trends import beside
from sharpscope.analysis.explanations.confidence import CLOSEST, twin_column
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import Interval, hodges_lehmann, westfall_young
from sharpscope.analysis.statistics.trend import turns
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Scaled, Values
from sharpscope.numpy_stream import NumpyStream


@dataclass(frozen=True)
class FoundTrend:
    """What a study says of one predicted trend.

    Attributes:
        levels: Between which levels the change is, in words.
        scaled: How values are compared.
        change: The change from end to end on that scale.
        direction: +1 where the quantity rises significantly with the levels, -1 where it falls, 0 where neither can be
            told.
        seeds: How many seeds have a trend.
        turns: Whether it cannot be told because steps between adjacent levels are significant both up and down.
    """

    levels: str
    scaled: Scaled
    change: Interval
    direction: int
    seeds: int
    turns: bool


def found_trends(
    values: Values, axis: Axis, columns: Mapping[int, tuple[str, str]], stream: NumpyStream
) -> dict[int, FoundTrend]:
    """Return what a study says of some trends, which are one family of Westfall and Young, by their places.

    Args:
        values: The numbers of the study.
        axis: Its levels.
        columns: The quantity of each trend and the column where it is looked at, by its place among those asked for;
            one without a course is left out.
        stream: Where patterns of signs are drawn from.
    """
    courses = {
        place: course_of(values, axis, column, values.alike(column, name)) for place, (name, column) in columns.items()
    }
    courses = {place: one for place, one in courses.items() if one.enough and np.isfinite(one.trends.values).any()}
    if not courses:
        return {}
    p = westfall_young(np.stack([one.trends.values for one in courses.values()]), stream, alpha=ALPHA)
    return {place: _found(one, float(q), stream) for (place, one), q in zip(courses.items(), p, strict=True)}


def _found(course: Course, p: float, stream: NumpyStream) -> FoundTrend:
    change = hodges_lehmann(course.slopes.values, np.zeros(len(course.slopes.values)))
    levels = [label for label, counts in zip(course.axis.labels, course.line, strict=True) if counts]
    turning = p <= ALPHA and turns(course.by_seed[course.counted], stream, alpha=ALPHA)
    direction = int(np.sign(np.nanmean(course.trends.values))) if p <= ALPHA and not turning else 0
    seeds = int(np.isfinite(course.trends.values).sum())
    return FoundTrend(f"{levels[0]} to {levels[-1]}", course.scaled, change, direction, seeds, turning)


def change_at_end(values: Values, axis: Axis, name: str, column: str) -> tuple[str, str]:
    """Return the change of a quantity at the end, with its interval, told as that in another column of it is.

    Beside it is between which levels: those that both have; empty where they have none.
    """
    there, end = (
        course_of(values, axis, one, values.alike(one, other)) for one, other in ((column, name), (name, column))
    )
    found = beside(there, end)
    told = numbers.change(end.scaled.scale, found["end_change"], found["end_low"], found["end_high"])
    return told, f"{found['joint_first']} to {found['joint_last']}" if found["joint_n"] else ""


def column_at_equal_loss(values: Values, axis: Axis, name: str) -> str | None:
    """Return the column of a quantity at the smallest matched loss at which it has a course; None without one."""
    columns = {loss: column for loss, column in values.results.across(name).items() if loss}
    ordered = sorted(columns, key=float)
    return next((columns[loss] for loss in ordered if course_of(values, axis, columns[loss]).enough), None)


def column_at_equal_confidence(results: StudyResults, name: str) -> str | None:
    """Return the column of a quantity of the twin that holds confidence equal the best; None without one."""
    found = (twin_column(results, name, twin) for twin in CLOSEST)
    return next((column for column in found if column is not None), None)
