"""How quantities move along an ordered factor: trend, size, shape, and the first level that differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.dose.axis import Axis, axis_of
from sharpscope.analysis.dose.courses import Course, course_of
from sharpscope.analysis.explanations.confidence import TWINS, twin_column
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.statistics import (
    flip_test,
    hodges_lehmann,
    mean_interval,
    signed_rank_test,
    smallest_reachable,
    study_wide,
    westfall_young,
)
from sharpscope.analysis.statistics.loss import retained
from sharpscope.analysis.statistics.trend import fixed_sequence, partial_correlations, slopes, turns
from sharpscope.analysis.tested import ADJUSTED_COLUMNS, ALPHA, PRIMARY, SECONDARY, adjusted, by_benjamini_hochberg
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END

_STREAM = NumpyStream(0, "analysis", "dose")

_SHARE = ("retained", "retained_low", "retained_high")
_TWINNED = ("sharpness", "complexity", "score")
MONOTONE, NOT_MONOTONE = "monotone", "not monotone"
COLUMNS = (
    *("quantity", "kind", "at", "factor", "h", "levels", "first", "last", "n"),
    *("tau", "tau_low", "tau_high", "rising", "falling", "p", "p_smallest", "family", *ADJUSTED_COLUMNS),
    *("scale", "line_first", "line_last", "line_n", "change", "ci_low", "ci_high", "ci_level"),
    *("ends", "ends_low", "ends_high", "bend", "bend_low", "bend_high"),
    *(
        "shape",
        "highest",
        "lowest",
        "differs_below",
        "differs_above",
        "levels_left_out",
        "seeds_left_out",
        "settings_left_out",
    ),
    *("joint_first", "joint_last", "joint_lacks", "joint_n", "joint_change", "joint_low", "joint_high"),
    *("end_change", "end_low", "end_high", "retained", "retained_low", "retained_high", "not_positive", "values"),
    *("partial", "partial_low", "partial_high", "partial_n", "partial_p"),
)


def dose_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a quantity and moment: how it moves along the levels of an ordered factor.

    ``at`` is the ``end`` of training, a matched train loss, or a twin at the end; ``factor`` what the levels are
    values of, and ``h`` the scale on which they lie; ``first`` and ``last`` the outermost of the ``levels`` that
    count. ``tau`` is the mean over seeds of Kendall's tau-b with the order of the levels, with its interval; ``p``
    that of flips of whole seeds, corrected over the primary quantities at the end by Westfall and Young, elsewhere by
    Benjamini and Hochberg.

    ``change`` is that from ``line_first`` to ``line_last`` by the least-squares line of each of ``line_n`` seeds, as
    ``scale`` has it, with the interval that inverts the signed-rank test; ``ends`` the difference of these two levels
    themselves, by the same seeds, which is another one where a course bends; ``bend`` how far the middle lies above
    that line; ``shape`` whether steps between adjacent levels are significant in both directions; ``highest`` and
    ``lowest`` the levels with the largest and the smallest mean. ``differs_above`` is the level from which on all
    differ from the reference, up to the last one, by tests in fixed sequence from there; ``differs_below`` down to the
    first one.

    ``joint_change`` and ``end_change`` are the changes there and at the end over the levels and by the ``joint_n``
    seeds that both have, from ``joint_first`` to ``joint_last`` without ``joint_lacks``; and ``retained``, of a ratio,
    the share of the mean logarithm at the end that is there. Where ``not_positive`` of the ``values`` of a quantity of
    ratios are in the way, all three are differences. ``partial`` is the mean over seeds of the
    correlation with the dose given the train loss, both on the scales on which they are compared, of the ``partial_n``
    seeds that have one.

    The table is empty where the levels have no order; see ``axis_of``.
    """
    axis = axis_of(results)
    if axis is None:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = list(_rows(results, axis))
    columns = [c for c in COLUMNS if c not in ADJUSTED_COLUMNS]
    table = pd.DataFrame([row for row, _ in rows], columns=columns)
    if table.empty:
        return table.reindex(columns=list(COLUMNS))
    trends = np.stack([course.trends.values for _, course in rows])
    table = table.assign(p=flip_test(trends, _STREAM), p_smallest=smallest_reachable(trends))
    primary = (table["family"] == PRIMARY).to_numpy(bool)
    parts = [by_benjamini_hochberg(table[~primary])]
    if primary.any():
        p = westfall_young(trends[primary], _STREAM, alpha=ALPHA)
        parts.append(adjusted(table[primary], "Westfall-Young", p, smallest_reachable(trends[primary])))
    return pd.concat([part for part in parts if len(part)]).sort_index()[list(COLUMNS)]


def _rows(results: StudyResults, axis: Axis) -> Iterator[tuple[dict[str, Any], Course]]:
    values = Values(results)
    loss = course_of(values, axis, LOSS) if LOSS in results.measured else None
    for name in results.at(""):
        if results.quantities[name].twin:
            continue
        for at, column in _places(results, name):
            course = course_of(values, axis, column, values.alike(column, name))
            if not course.enough:
                continue
            row = {"quantity": name, "at": at, "factor": axis.key, "h": axis.h, **_row(values, course)}
            row["family"] = PRIMARY if at == END and name in results.primary else SECONDARY
            if at != END:
                row |= beside(course, course_of(values, axis, name, values.alike(name, column)))
            elif loss is not None and name != LOSS:
                row |= _partial(course, loss)
            yield row, course


def _places(results: StudyResults, name: str) -> Iterator[tuple[str, str]]:
    """Yield where a quantity was found, with its column: at the end, at matched losses, and of twins at the end."""
    columns = results.across(name)
    yield END, name
    yield from ((loss, column) for loss, column in columns.items() if loss)
    if results.quantities[name].kind in _TWINNED:
        yield from ((twin, found) for twin in TWINS if (found := twin_column(results, name, twin)) is not None)


def _row(values: Values, course: Course) -> dict[str, Any]:
    levels, trends = np.array(course.axis.labels), course.trends
    present = trends.values[np.isfinite(trends.values)]
    tau = mean_interval(trends.values, _STREAM.child("mean"))
    nothing, back = np.zeros(len(trends.values)), course.scaled.back
    change = hodges_lehmann(course.slopes.values, nothing)
    apart, bend = (hodges_lehmann(one.values, nothing) for one in (course.ends, course.bends))
    below, above = _first_levels(values, course)
    ends, line = levels[course.counted][[0, -1]], levels[course.line]
    return {
        "kind": values.results.quantities[course.name].kind,
        **{"levels": int(course.counted.sum()), "first": ends[0], "last": ends[1], "n": tau.n},
        **{"tau": tau.value, "tau_low": tau.low, "tau_high": tau.high},
        **{"rising": int(np.sum(present > 0)), "falling": int(np.sum(present < 0))},
        "scale": course.scaled.scale,
        **{"not_positive": course.scaled.not_positive, "values": course.scaled.values},
        **({"line_first": line[0], "line_last": line[-1]} if change.n else {}),
        **{"change": back(change.value), "ci_low": back(change.low), "ci_high": back(change.high)},
        **{"line_n": change.n, "ci_level": change.level},
        **{"ends": back(apart.value), "ends_low": back(apart.low), "ends_high": back(apart.high)},
        **{"bend": back(bend.value), "bend_low": back(bend.low), "bend_high": back(bend.high)},
        **_extremes(course),
        "shape": NOT_MONOTONE if turns(course.by_seed[course.counted], _STREAM, alpha=ALPHA) else MONOTONE,
        **{"differs_below": below, "differs_above": above},
        "levels_left_out": ", ".join(course.left_out),
        "seeds_left_out": ", ".join(str(values.seeds[i]) for i in np.flatnonzero(_dropped(course))),
        "settings_left_out": "; ".join(describe_group(values.settings[i]) for i in np.flatnonzero(~trends.settings)),
    }


def _extremes(course: Course) -> dict[str, str]:
    if not np.isfinite(course.means).any():
        return {"highest": "", "lowest": ""}
    levels = course.axis.labels
    return {"highest": levels[int(np.nanargmax(course.means))], "lowest": levels[int(np.nanargmin(course.means))]}


def _dropped(course: Course) -> np.ndarray:
    """Return which seeds have values, and yet no trend or no slope."""
    there = np.isfinite(course.values).any(axis=(0, 1))
    lack = np.isnan(course.trends.values)
    if course.slopes.settings.any():
        lack |= np.isnan(course.slopes.values)
    return there & lack


def _first_levels(values: Values, course: Course) -> tuple[str, str]:
    """Return the levels from which on all differ from the reference, below it and above; empty where none does.

    The sequence goes from the far end to the reference, and ends at the first level that does not differ. Where the
    reference has levels on both sides, each side has half of the level of significance.
    """
    levels, reference = course.axis.levels, values.results.reference
    if reference not in levels:
        return "", ""
    at = levels.index(reference)
    counted = [k for k, counts in enumerate(course.counted) if counts and k != at]
    sides = [[k for k in counted if k < at], [k for k in reversed(counted) if k > at]]
    alpha = ALPHA / max(sum(map(bool, sides)), 1)
    found = []
    for side in sides:
        p = (_p_of(values, course.name, levels[k]) for k in side)
        count = fixed_sequence(p, alpha)
        found.append(course.axis.labels[side[count - 1]] if count else "")
    return found[0], found[1]


def _p_of(values: Values, name: str, level: str) -> float:
    differences = study_wide(values.differences(name, level)).values
    return signed_rank_test(differences, np.zeros(len(differences))).p


def beside(there: Course, end: Course) -> dict[str, Any]:
    """Return the changes there and at the end over the levels and by the seeds that both have, and the share retained.

    Args:
        there: The course of a quantity where something is held equal.
        end: That at the end, on the same scale.
    """
    line = there.line & end.line
    held, of_end = (course.along(line, slopes).values for course in (there, end))
    both = np.isfinite(held) & np.isfinite(of_end)
    told: dict[str, Any] = _levels_of_both(line, end) if both.any() else {}
    for name, course, found in (("joint", there, held), ("end", end, of_end)):
        change = hodges_lehmann(np.where(both, found, np.nan), np.zeros(len(found)))
        ends = map(course.scaled.back, (change.value, change.low, change.high))
        told |= dict(zip((f"{name}_change", f"{name}_low", f"{name}_high"), ends, strict=True))
    told["joint_n"] = int(both.sum())
    # A difference has no scale of its own, and of the loss itself nothing is to be retained.
    if there.scaled.scale != "ratio" or end.name == LOSS:
        return told
    share = retained(held, of_end, _STREAM)
    return {**told, **dict(zip(_SHARE, map(float, (share.value, share.low, share.high)), strict=True))}


def _levels_of_both(line: np.ndarray, end: Course) -> dict[str, str]:
    """Return from where to where two courses are compared, and the levels between that only that at the end has."""
    labels, (first, last) = end.axis.labels, np.flatnonzero(line)[[0, -1]]
    lacks = [labels[k] for k in range(first, last) if end.line[k] and not line[k]]
    return {"joint_first": labels[first], "joint_last": labels[last], "joint_lacks": ", ".join(lacks)}


def _partial(course: Course, loss: Course) -> dict[str, float]:
    line = course.line
    if not line.any():
        return {"partial_n": 0}
    x, pairs = course.axis.scaled(line), zip(course.values[:, line], loss.values[:, line], strict=True)
    of_seeds = study_wide(np.stack([partial_correlations(y, x, given) for y, given in pairs])).values
    mean = mean_interval(of_seeds, _STREAM.child("mean"))
    p = float(flip_test(of_seeds[None], _STREAM)[0])
    ends = {"partial": mean.value, "partial_low": mean.low, "partial_high": mean.high}
    return {**ends, "partial_n": mean.n, "partial_p": p}
