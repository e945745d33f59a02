"""How much of a quantity's variation others explain, one after the other and in every order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.bca import Bounds, bca_interval
from sharpscope.numpy_stream import NumpyStream

RESAMPLES = 5_000
_COLLINEAR = 1e-10  # share of a column's variation below which the others before it tell all of it
_ROUNDING = 1e-24  # share of a column's squares that is none of its own

Order = tuple[int, ...]


@dataclass(frozen=True)
class Partition:
    """The shares of the variation within groups that ``p`` predictors explain by least squares.

    Attributes:
        orders: All orders of the predictors, as they stand first.
        steps: What each predictor adds to R^2 when it enters after those before it, shape ``[orders, p]``, in the
            sequence of each order.
        by_chance: What a predictor of as many columns that has nothing to do with the quantity would add there in the
            mean, shape ``[orders, p]``.
        mean: What each predictor adds in the mean over all orders, shape ``[p]``. Reference: Lindeman, Merenda & Gold,
            "Introduction to Bivariate and Multivariate Analysis", 1980, page 119 (LMG).
        runs: How many runs.
        groups: How many groups, whose means are taken out.
    """

    orders: tuple[Order, ...]
    steps: Bounds
    by_chance: np.ndarray
    mean: Bounds
    runs: int
    groups: int


def partition(
    values: np.ndarray,
    predictors: Sequence[np.ndarray],
    groups: np.ndarray,
    units: np.ndarray,
    stream: NumpyStream,
    *,
    resamples: int = RESAMPLES,
) -> Partition:
    """Return how much of the variation within groups each predictor explains, in every order.

    Intervals resample units, each with all its groups. R^2 rises with any predictor, so a share is to be held against
    what chance adds.

    Args:
        values: The quantity, shape ``[runs]``, without NaN.
        predictors: Each of shape ``[runs, columns]``: one column of a number, several of the levels of a factor.
        groups: The group of each run, shape ``[runs]``; no group has runs of two units.
        units: What is resampled, shape ``[runs]``.
        stream: Where resamples are drawn from.
        resamples: How many resamples are drawn.

    Returns:
        The shares; NaN where the quantity does not vary within groups.
    """
    _, group = np.unique(groups, return_inverse=True)
    found, unit = np.unique(units, return_inverse=True)
    columns = _centered(np.column_stack([*predictors, values]), group)
    products = np.zeros((len(found), columns.shape[1], columns.shape[1]))
    np.add.at(products, unit, columns[:, :, None] * columns[:, None, :])
    ends = np.cumsum([0, *(predictor.shape[1] for predictor in predictors)])
    places = [list(range(*pair)) for pair in itertools.pairwise(ends)]
    orders = tuple(itertools.permutations(range(len(predictors))))

    def statistic(weights: np.ndarray) -> np.ndarray:
        explained = _explained(np.tensordot(weights, products, axes=1), places)
        steps = [_steps(explained, order) for order in orders]
        return np.stack([*steps, _mean(steps, orders)], axis=1)

    bounds = bca_interval(statistic, len(found), stream, resamples=resamples)
    steps = Bounds(bounds.value[:-1], bounds.low[:-1], bounds.high[:-1])
    left = len(values) - int(group.max(initial=-1)) - 1
    by_chance = np.stack([_by_chance(row, order, places, left) for row, order in zip(steps.value, orders, strict=True)])
    return Partition(orders, steps, by_chance, bounds.at(-1), len(values), int(group.max(initial=-1)) + 1)


def _centered(columns: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return columns without the means of groups; zero where no more is left than rounding."""
    sums = np.zeros((group.max(initial=-1) + 1, columns.shape[1]))
    np.add.at(sums, group, columns)
    found = columns - (sums / np.bincount(group)[:, None])[group]
    constant = np.sum(found**2, axis=0) <= _ROUNDING * np.sum(columns**2, axis=0)
    return np.where(constant, 0.0, found)


def _explained(products: np.ndarray, places: list[list[int]]) -> dict[frozenset[int], np.ndarray]:
    """Return R^2 of the last column on each set of predictors, by products of columns ``[resamples, m, m]``."""
    total = products[:, -1, -1]
    rest = {frozenset[int](): products}
    for size in range(1, len(places) + 1):
        for chosen in map(frozenset, itertools.combinations(range(len(places)), size)):
            last = max(chosen)
            rest[chosen] = _without(rest[chosen - {last}], places[last], products)
    return {
        chosen: np.divide(total - left[:, -1, -1], total, out=np.full(total.shape, np.nan), where=total > 0)
        for chosen, left in rest.items()
    }


def _without(rest: np.ndarray, columns: list[int], products: np.ndarray) -> np.ndarray:
    """Return the products of what is left of all columns after regression on some; collinear ones are passed over."""
    for column in columns:
        pivot = rest[:, column, column]
        inverse = np.divide(
            1.0, pivot, out=np.zeros(pivot.shape), where=pivot > _COLLINEAR * np.abs(products[:, column, column])
        )
        rest = rest - rest[:, :, column, None] * rest[:, None, column, :] * inverse[:, None, None]
    return rest


def _steps(explained: dict[frozenset[int], np.ndarray], order: Order) -> np.ndarray:
    """Return what each predictor adds in an order, shape ``[resamples, p]``."""
    reached = [explained[frozenset(order[:count])] for count in range(len(order) + 1)]
    return np.diff(np.stack(reached, axis=1), axis=1)


def _mean(steps: list[np.ndarray], orders: tuple[Order, ...]) -> np.ndarray:
    """Return what each predictor adds in the mean over orders, shape ``[resamples, p]``."""
    return np.mean([step[:, np.argsort(order)] for step, order in zip(steps, orders, strict=True)], axis=0)


def _by_chance(steps: np.ndarray, order: Order, places: list[list[int]], left: int) -> np.ndarray:
    """Return what useless predictors would add in the mean: of what is left, a share as large as that of the freedom.

    Args:
        steps: What the predictors add in this order, shape ``[p]``.
        order: The order.
        places: The columns of each predictor.
        left: The degrees of freedom within groups.
    """
    added = []
    for place, predictor in enumerate(order):
        unexplained = 1 - steps[:place].sum()
        count = len(places[predictor])
        added.append(min(1.0, count / left) * unexplained if left > 0 else np.nan)
        left -= count
    return np.array(added)
