"""What the figures of dose and response draw, on the page as in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.dose.courses import Course, course_of
from sharpscope.analysis.dose.sizes import range_told
from sharpscope.analysis.dose.told import place_told
from sharpscope.analysis.drawing.palette import Style, styles_in_order
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.explanations.confidence import CLOSEST
from sharpscope.analysis.results import Quantity, StudyResults, TableRow, records
from sharpscope.analysis.statistics.trend import course_band
from sharpscope.analysis.values import Values
from sharpscope.analysis.wording import joined, label_of
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END

SHORT = 6  # letters of a label that may stand out over the end of its axis
MOST_SEEDS = 30  # drawn by themselves
_KINDS = ("sharpness", "complexity")
_STREAM = NumpyStream(0, "analysis", "dose bands")


@dataclass(frozen=True)
class Curve:
    """The mean of a quantity at every level: of ratios, the geometric mean.

    Attributes:
        loss: The matched train loss where it was found; empty for the end of training.
        value: Shape ``[levels]``; NaN where there is none.
        low: Lower ends of the band that holds the whole course; NaN where seeds are too few.
        high: Upper ends.
    """

    loss: str
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Panel:
    """A quantity along the levels.

    Attributes:
        quantity: Its facts, at the end of training.
        scale: The axis of its values.
        seeds: Its values at the end of some seeds, averaged over settings, shape ``[seeds, levels]``.
        curves: Its means, at the end first, then at matched losses.
    """

    quantity: Quantity
    scale: Scale
    seeds: np.ndarray
    curves: list[Curve]


@dataclass(frozen=True)
class Cloud:
    """A measure of sharpness against the train loss.

    Attributes:
        quantity: The measure.
        x: The axis of the loss.
        y: The axis of the measure.
        points: Loss and measure of some seeds, averaged over settings, shape ``[2, seeds, levels]``.
        means: Those of the levels, shape ``[2, levels]``; geometric ones of ratios.
    """

    quantity: Quantity
    x: Scale
    y: Scale
    points: np.ndarray
    means: np.ndarray


def looks_of(results: StudyResults, axis: Axis) -> dict[str, Style]:
    """Return the look of every level, along a sequence of colors."""
    return styles_in_order(axis.levels, _lacking(results, axis))


def _lacking(results: StudyResults, axis: Axis) -> str | None:
    """Return the level of the dose zero that stands off the scale of the others."""
    off = [level for level, on in zip(axis.levels, axis.on_line, strict=True) if not on]
    return off[0] if off else results.factor.lacking


def shown(results: StudyResults) -> list[str]:
    """Return the quantities that are drawn: the primary ones, all sharpness and complexity, and the train loss."""
    facts = results.quantities
    primary = [name for name in results.primary if not (facts[name].twin or facts[name].matched_loss)]
    others = [name for name in results.at("") if facts[name].kind in _KINDS and not facts[name].twin]
    return list(dict.fromkeys([*primary, *others, *([LOSS] if LOSS in results.measured else [])]))


def chosen_seeds(seeds: int) -> np.ndarray:
    """Return which seeds are drawn by themselves: all, or some that lie evenly among them."""
    return np.unique(np.linspace(0, seeds - 1, min(seeds, MOST_SEEDS)).round().astype(int))


def panels_of(results: StudyResults, axis: Axis) -> list[Panel]:
    """Return a panel for each quantity that is shown and has a course."""
    values, found = Values(results), []
    for name in shown(results):
        course = course_of(values, axis, name)
        if not course.enough:
            continue
        columns = results.across(name)
        courses = {loss: course_of(values, axis, columns[loss]) for loss in columns if loss}
        curves = [_curve("", course), *(_curve(loss, one) for loss, one in courses.items() if one.enough)]
        seeds = _back(course, course.by_seed.T[chosen_seeds(len(values.seeds))])
        ends = [seeds, *(end for curve in curves for end in (curve.value, curve.low, curve.high))]
        scale = _scale(np.concatenate([np.ravel(end) for end in ends]), course)
        found.append(Panel(results.quantities[name], scale, seeds, curves))
    return found


def _curve(loss: str, course: Course) -> Curve:
    counted = np.where(course.counted[:, None], course.by_seed, np.nan)
    band = course_band(counted, _STREAM)
    return Curve(loss, *(_back(course, end) for end in (band.value, band.low, band.high)))


def _back(course: Course, values: np.ndarray) -> np.ndarray:
    return np.exp(values) if course.scaled.scale == "ratio" else values


def _scale(values: np.ndarray, course: Course) -> Scale:
    finite = values[np.isfinite(values)]
    return Scale(float(finite.min()), float(finite.max()), logarithmic=course.scaled.scale == "ratio")


def clouds_of(results: StudyResults, axis: Axis) -> list[Cloud]:
    """Return each measure of sharpness against the train loss at the end; none where the loss has no course."""
    if LOSS not in results.measured:
        return []
    values, found = Values(results), []
    loss = course_of(values, axis, LOSS)
    for name in results.of_kind("sharpness"):
        course = course_of(values, axis, name)
        both = np.isfinite(course.by_seed) & np.isfinite(loss.by_seed)
        if not (course.enough and loss.enough and both.any()):
            continue
        pair = [np.where(both, one.by_seed, np.nan) for one in (loss, course)]
        count = both.sum(axis=1)
        sums = np.stack([np.where(both, one, 0.0).sum(axis=1) for one in pair])
        means = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
        drawn = chosen_seeds(len(values.seeds))
        points = np.stack([_back(one, rows.T[drawn]) for one, rows in zip((loss, course), pair, strict=True)])
        means = np.stack([_back(one, row) for one, row in zip((loss, course), means, strict=True)])
        axes = [_scale(np.append(points[i].ravel(), means[i]), one) for i, one in enumerate((loss, course))]
        found.append(Cloud(results.quantities[name], axes[0], axes[1], points, means))
    return found


def slope_rows(table: pd.DataFrame) -> dict[str, dict[str, TableRow]]:
    """Return the changes from end to end that are told as factors, by measure and where they were found.

    They are those of sharpness and complexity.
    """
    rows = table[table["kind"].isin(_KINDS) & (table["scale"] == "ratio") & table["change"].notna()]
    return {str(name): {row["at"]: row for row in records(part)} for name, part in rows.groupby("quantity", sort=False)}


def other_levels(results: StudyResults, table: pd.DataFrame) -> list[str]:
    """Return which of the changes that are drawn are over other levels than at the end, in sentences."""
    told: dict[str, list[str]] = {}
    rows, lanes = slope_rows(table), lanes_of(results, table)
    for at in lanes:
        of_lane = {name: found for name, found in rows.items() if at in found}
        ranges: dict[str, list[str]] = {}
        for name, found in of_lane.items():
            ranges.setdefault(range_told(found[at], found.get(END, found[at])), []).append(label_of(results, name))
        ranges.pop("", None)
        for levels, labels in ranges.items():
            which = "all" if len(labels) == len(of_lane) else joined(labels)
            told.setdefault(f"{which} {levels}", []).append(place_told(at))
    return [f"At {joined(places)}, {what}." for what, places in told.items()]


def moments_of(results: StudyResults, table: pd.DataFrame) -> list[str]:
    """Return where changes were found: at the end, at matched losses, and of twins."""
    present = set(table["at"])
    return [at for at in (END, *results.losses, *CLOSEST) if at in present]


def lanes_of(results: StudyResults, table: pd.DataFrame) -> list[str]:
    """Return where changes are drawn: at the end, the two smallest matched losses, and equal confidence."""
    present = moments_of(results, table)
    losses = sorted((at for at in present if at in results.losses), key=float, reverse=True)[-2:]
    return [END, *losses, *[at for at in present if at in CLOSEST][:1]]


def heat_rows(table: pd.DataFrame) -> dict[str, dict[str, TableRow]]:
    """Return the mean trends of every quantity that has one, by where they were found."""
    rows = table[table["tau"].notna()]
    return {str(name): {row["at"]: row for row in records(part)} for name, part in rows.groupby("quantity", sort=False)}


def room_for(labels: Sequence[str], positions: np.ndarray, letters: float) -> list[int]:
    """Return which labels fit beside one another: the first, the last, and from the left those between.

    Args:
        labels: The labels.
        positions: Where they stand, rising from 0 to 1, shape ``[labels]``.
        letters: How many letters the axis has room for.
    """
    last = len(labels) - 1

    def apart(i: int, j: int) -> bool:
        # A long last label ends at its tick.
        of_last = 1.0 if j == last and len(labels[j]) > SHORT else 0.5
        return (positions[j] - positions[i]) * letters >= len(labels[i]) / 2 + of_last * len(labels[j]) + 1

    kept = [0]
    for k in range(1, last):
        if apart(kept[-1], k) and apart(k, last):
            kept.append(k)
    return [*kept, last] if apart(kept[-1], last) else kept


def runs_of(values: np.ndarray, on_line: np.ndarray) -> list[np.ndarray]:
    """Return the stretches of levels that a line joins: those with values, without a zero that stands by itself."""
    known = np.isfinite(values) & on_line
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(int), [0]])))
    return [np.arange(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def finite(value: float, otherwise: float) -> float:
    """Return a number, or another one where it is none."""
    return value if math.isfinite(value) else otherwise
