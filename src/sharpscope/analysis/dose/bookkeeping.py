"""What of a course along an ordered factor goes through the train loss, and what loss, complexity and dose explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.dose.axis import Axis, axis_of
from sharpscope.analysis.dose.courses import Course, course_of
from sharpscope.analysis.explanations.loss import COMPARABLE_FROM
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import Partition, partition
from sharpscope.analysis.statistics.loss import overlap
from sharpscope.analysis.statistics.trend import LEAST_LEVELS, through
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

TOTAL, THROUGH, REST = PARTS = ("total", "through loss", "rest")
MEAN = "mean over orders"
LEAST_FOR_SHARES = 4  # levels
WORST_CONDITION = 30.0  # of the predictors, beyond which their shares are a matter of chance

_STREAM = NumpyStream(0, "analysis", "dose bookkeeping")


def bookkeeping_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness and part: the change from end to end, and what goes through the train loss.

    The part through the loss is the change of the loss from end to end, times how the measure moves with the loss where
    seed and level are the same; the rest is what is left. ``n`` seeds count: those that have both at all levels.
    ``overlap`` is the least share of runs of a level whose train loss lies where that of the level before does; under a
    quarter the parts extrapolate, and have no numbers.
    """
    columns = ["quantity", "part", "scale", "change", "ci_low", "ci_high", "n", "overlap"]
    axis = axis_of(results)
    rows = list(_parts(results, axis)) if axis is not None and LOSS in results.measured else []
    return pd.DataFrame(rows, columns=columns)


def _parts(results: StudyResults, axis: Axis) -> Iterator[dict[str, Any]]:
    values = Values(results)
    loss = course_of(values, axis, LOSS)
    for name in results.of_kind("sharpness"):
        course = course_of(values, axis, name)
        line = course.line & loss.line
        if line.sum() < LEAST_LEVELS:
            continue
        shared = _overlap(loss.values[:, line])
        found, n = through(course.by_seed[line], loss.by_seed[line], axis.scaled(line), _STREAM)
        for place, part in enumerate(PARTS):
            ends = (course.scaled.back(float(end[place])) for end in (found.value, found.low, found.high))
            told = dict(zip(("change", "ci_low", "ci_high"), ends, strict=True))
            told = told if part == TOTAL or shared >= COMPARABLE_FROM else {}
            yield {"quantity": name, "part": part, "scale": course.scaled.scale, **told, "n": n, "overlap": shared}


def _overlap(loss: np.ndarray) -> float:
    """Return the least overlap of adjacent levels, of losses ``[settings, levels, seeds]``; NaN where none is known."""
    steps = [overlap(loss[:, k], loss[:, k - 1]) for k in range(1, loss.shape[1])]
    return float(np.min(steps))


def shares_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness, of complexity, order and predictor: the share of variation it explains.

    The predictors are the train ``loss``, the ``complexity`` (where it is measured) and the ``dose``, a number here and
    so one predictor. Shares are of the variation within a seed and setting, in every order and in the mean over all
    (LMG), with BCa intervals over seeds. ``condition`` is the condition number of the predictors within seeds; beyond
    30, or below four levels, there are no shares.
    """
    columns = [
        "measure",
        "complexity",
        "factor",
        "order",
        "predictor",
        "runs",
        "share",
        "ci_low",
        "ci_high",
        "condition",
    ]
    axis = axis_of(results)
    rows = list(_shares(results, axis)) if axis is not None and LOSS in results.measured else []
    return pd.DataFrame(rows, columns=columns)


def _shares(results: StudyResults, axis: Axis) -> Iterator[dict[str, Any]]:
    values = Values(results)
    loss = course_of(values, axis, LOSS)
    functions = [name for name in results.of_kind("complexity") if not results.quantities[name].twin] or [""]
    for measure in results.of_kind("sharpness"):
        course = course_of(values, axis, measure)
        if measure not in results.primary or course.line.sum() < LEAST_FOR_SHARES:
            continue
        for function in functions:
            others = {"loss": loss, **({"complexity": course_of(values, axis, function)} if function else {})}
            yield from (
                {"measure": measure, "complexity": function, "factor": axis.key, **row} for row in _of(course, others)
            )


def _of(course: Course, others: dict[str, Course]) -> Iterator[dict[str, Any]]:
    axis, line = course.axis, course.line
    x = np.broadcast_to(axis.scaled(line)[:, None], course.values[:, line].shape)
    columns = np.stack([course.values[:, line], *(other.values[:, line] for other in others.values()), x])
    settings, _, seeds = np.nonzero(np.isfinite(columns).all(axis=0))
    kept = columns[:, np.isfinite(columns).all(axis=0)]
    if not len(seeds):
        return
    groups = settings * (seeds.max() + 1) + seeds
    predictors, names = [row[:, None] for row in kept[1:]], [*others, "dose"]
    condition = condition_number(kept[1:], groups)
    told = {"runs": len(seeds), "condition": condition}
    if condition > WORST_CONDITION:
        yield {"order": MEAN, "predictor": "", **told}
        return
    found = partition(kept[0], predictors, groups, seeds, _STREAM)
    yield from ({**row, **told} for row in _of_partition(found, names))


def _of_partition(found: Partition, names: list[str]) -> Iterator[dict[str, Any]]:
    for at, order in enumerate(found.orders):
        steps = found.steps.at(at)
        for place, predictor in enumerate(order):
            ends = (float(end[place]) for end in (steps.value, steps.low, steps.high))
            told = dict(zip(("share", "ci_low", "ci_high"), ends, strict=True))
            yield {"order": " > ".join(names[i] for i in order), "predictor": names[predictor], **told}
    for place, name in enumerate(names):
        ends = (float(end[place]) for end in (found.mean.value, found.mean.low, found.mean.high))
        yield {"order": MEAN, "predictor": name, **dict(zip(("share", "ci_low", "ci_high"), ends, strict=True))}


def condition_number(predictors: np.ndarray, groups: np.ndarray) -> float:
    """Return the condition number of predictors within groups, each of unit length; infinite where one is constant.

    Args:
        predictors: Shape ``[p, runs]``.
        groups: The group of each run, shape ``[runs]``.

    Reference: Belsley, Kuh & Welsch, "Regression Diagnostics", Wiley 1980, chapter 3.
    """
    _, group = np.unique(groups, return_inverse=True)
    means = np.stack([np.bincount(group, row) / np.bincount(group) for row in predictors])
    within = predictors - means[:, group]
    size = np.sqrt(np.sum(within**2, axis=1))
    if not (size > 1e-12 * np.sqrt(np.sum(predictors**2, axis=1))).all():
        return float("inf")
    return float(np.linalg.cond((within / size[:, None]).T))
