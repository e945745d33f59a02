"""Two arms: two studies whose levels have an order, against the same x, and how far apart they are where x is equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.dose.axis import Axis, axis_of
from sharpscope.analysis.dose.courses import Course, course_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import hodges_lehmann, signed_rank_test
from sharpscope.analysis.statistics.between import mean_between
from sharpscope.analysis.statistics.trend import LEAST_LEVELS, rank_trends
from sharpscope.analysis.values import Scaled, Values
from sharpscope.store.snapshots import END, column, snapshot_at

LEAST_ORDER = 0.8  # tau of x with the levels, below which a curve turns back so much that it has no order

COLUMNS = (
    *("quantity", "x", "at", "first", "second", "x_from", "x_to", "levels", "order"),
    *("n", "scale", "difference", "ci_low", "ci_high", "p"),
)


@dataclass(frozen=True)
class Arm:
    """One study of an ordered factor.

    Attributes:
        name: Of the study.
        values: Its numbers.
        axis: Its levels.
    """

    name: str
    values: Values
    axis: Axis

    def course(self, name: str) -> Course | None:
        """Return the course of a quantity, averaged over settings; None where there is none."""
        if name not in self.values.results.measured:
            return None
        course = course_of(self.values, self.axis, name)
        return course if course.enough else None


@dataclass(frozen=True)
class Curves:
    """A measure of sharpness of two arms against the same x.

    Attributes:
        quantity: The column of the measure at the end of training.
        x: The column of what it is against, at the end of training.
        at: Where both were found: the ``end``, or a matched train loss.
        arms: Of each arm its measure and its x.
    """

    quantity: str
    x: str
    at: str
    arms: tuple[tuple[Course, Course], tuple[Course, Course]]


def arms_of(results: StudyResults) -> tuple[Arm, Arm] | None:
    """Return a study and that beside it; None where there is none, or where levels of one have no order."""
    if results.beside is None:
        return None
    found = []
    for place, one in enumerate((results, results.beside)):
        axis = axis_of(one)
        if axis is None:
            return None
        found.append(Arm(str(one.study.get("name", f"study {place + 1}")), Values(one), axis))
    return found[0], found[1]


def curves_of(first: Arm, second: Arm) -> Iterator[Curves]:
    """Yield what two arms can be compared by: each measure of sharpness against the train loss, and each complexity.

    The measures are the primary ones of the first arm, or all that both have where none is. Against a complexity they
    are compared at the end, and at the smallest matched loss that both have, where the loss is equal as well.
    """
    results, beside = first.values.results, second.values.results
    common = [name for name in results.of_kind("sharpness") if name in beside.measured]
    common = [name for name in common if name in results.primary] or common
    complexities = [name for name in results.of_kind("complexity") if name in beside.measured]
    losses = sorted(set(results.losses) & set(beside.losses), key=float)
    for name in common:
        for x in (LOSS, *complexities):
            places = [END] if x == LOSS else [END, *losses[:1]]
            for at in places:
                arms = [_pair(arm, name, x, at) for arm in (first, second)]
                if arms[0] is not None and arms[1] is not None:
                    yield Curves(name, x, at, (arms[0], arms[1]))


def _pair(arm: Arm, name: str, x: str, at: str) -> tuple[Course, Course] | None:
    found = [arm.course(one if at == END else column(one, snapshot_at(at))) for one in (name, x)]
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def arms_table(first: Arm, second: Arm) -> pd.DataFrame:
    """Return one row a measure, x and place: how the second arm differs from the first where x is equal.

    Each seed of an arm has a curve of the measure over x through its levels, both as they are compared; the difference
    of a seed is the mean of that between its two curves, over the x that both have within where the means of the levels
    of the arms overlap (``x_from`` to ``x_to``). ``p`` is that of the signed-rank test by itself. There is no
    difference where nothing overlaps; where fewer than three levels of an arm lie there or next to it (``levels``, the
    fewer of both arms), since what lies between two levels is not known; and where a curve turns back: where the means
    of x hardly follow the levels (``order``, the lesser tau of both arms).
    """
    rows = [_row(first, second, curves) for curves in curves_of(first, second)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(first: Arm, second: Arm, curves: Curves) -> dict[str, Any]:
    told: dict[str, Any] = {"quantity": curves.quantity, "x": curves.x, "at": curves.at}
    told |= {"first": first.name, "second": second.name}
    scales = [course.scaled for pair in curves.arms for course in pair]
    if len({scaled.scale for scaled in scales[::2]}) > 1 or len({scaled.scale for scaled in scales[1::2]}) > 1:
        return told
    y, x = scales[0], scales[1]
    low, high = overlap_of(curves)
    order = min(_in_order(of_arm) for _, of_arm in curves.arms)
    levels = min(_levels_at(pair, low, high) for pair in curves.arms)
    told |= {"scale": y.scale, "x_from": x.back(low), "x_to": x.back(high), "order": order, "levels": levels}
    if not low < high or levels < LEAST_LEVELS or not order >= LEAST_ORDER:
        return told
    seeds = sorted(set(first.values.seeds) & set(second.values.seeds))
    numbers = [_by_seed(arm, pair, seeds) for arm, pair in zip((first, second), curves.arms, strict=True)]
    least, most = np.full(len(seeds), low), np.full(len(seeds), high)
    for _, of_seeds in numbers:
        least, most = np.fmax(least, _least(of_seeds)), np.fmin(most, -_least(-of_seeds))
    means = [mean_between(of_y, of_x, least, most) for of_y, of_x in numbers]
    return {**told, **_difference(means[1] - means[0], y)}


def _least(x: np.ndarray) -> np.ndarray:
    """Return the least x of each seed; infinite where it has none."""
    return np.min(np.where(np.isfinite(x), x, np.inf), axis=0)


def _levels_at(pair: tuple[Course, Course], low: float, high: float) -> int:
    """Return how many levels of an arm lie between two x, or are the nearest one beyond either of them."""
    y, x = pair
    places = np.sort(x.means[np.isfinite(x.means) & np.isfinite(y.means)])
    before, behind = int(np.sum(places < low)), int(np.sum(places > high))
    return len(places) - max(before - 1, 0) - max(behind - 1, 0)


def _in_order(x: Course) -> float:
    """Return how closely the means of x follow the order of the levels: the size of Kendall's tau-b."""
    return float(abs(rank_trends(x.means[np.isfinite(x.means)][:, None])[0]))


def _difference(differences: np.ndarray, scaled: Scaled) -> dict[str, Any]:
    nothing = np.zeros(len(differences))
    found = hodges_lehmann(differences, nothing)
    ends = {"difference": found.value, "ci_low": found.low, "ci_high": found.high}
    p = signed_rank_test(differences, nothing).p
    return {"n": found.n, "p": p, **{name: scaled.back(value) for name, value in ends.items()}}


def overlap_of(curves: Curves) -> tuple[float, float]:
    """Return between which x, as it is compared, both arms have means of levels; empty where nothing overlaps."""
    ends = []
    for _, x in curves.arms:
        ends.append((np.nanmin(x.means), np.nanmax(x.means)))
    return float(max(low for low, _ in ends)), float(min(high for _, high in ends))


def _by_seed(arm: Arm, pair: tuple[Course, Course], seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the measure and x of some seeds, each ``[levels, seeds]``; NaN where too few levels have both."""
    places = [arm.values.seeds.index(seed) for seed in seeds]
    y, x = (course.by_seed[:, places] for course in pair)
    enough = (np.isfinite(y) & np.isfinite(x)).sum(axis=0) >= LEAST_LEVELS
    return np.where(enough, y, np.nan), np.where(enough, x, np.nan)
