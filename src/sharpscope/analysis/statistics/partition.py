"""How much of a quantity's variation others explain, one after the other and in every order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.bca import Bounds
from sharpscope.analysis.statistics.centered import centered_interval
from sharpscope.numpy_stream import NumpyStream

RESAMPLES = 5_000
_COLLINEAR = 1e-10  # share of a column's variation below which the others before it tell all of it
_ROUNDING = 1e-24  # share of a column's squares that is none of its own

Order = tuple[int, ...]


@dataclass(frozen=True)
class Partition:
    """The shares of the variation within groups that ``p`` predictors explain by least squares.

    A share is what a predictor adds to the adjusted R^2, in which predictors that have nothing to do with the quantity
    add zero in the mean, however many columns they have: so it may be somewhat below zero.

    Attributes:
        orders: All orders of the predictors, as they stand first.
        steps: What each predictor adds when it enters after those before it, shape ``[orders, p]``, in the sequence of
            each order.
        mean: What each predictor adds in the mean over all orders, shape ``[p]``. Reference: Lindeman, Merenda & Gold,
            "Introduction to Bivariate and Multivariate Analysis", 1980, page 119 (LMG).
        differences: The mean of each predictor minus that of each other one, shape ``[p, p]``.
        runs: How many runs.
        groups: How many groups, whose means are taken out.
    """

    orders: tuple[Order, ...]
    steps: Bounds
    mean: Bounds
    differences: Bounds
    runs: int
    groups: int


def partition(
    values: np.ndarray,
    predictors: Sequence[np.ndarray],
    groups: np.ndarray,
    units: np.ndarray,
    stream: NumpyStream,
    *,
    given: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> Partition:
    """Return how much of the variation within groups each predictor explains, in every order.

    Intervals resample units, each with all its groups; see ``centered_interval``.

    Args:
        values: The quantity, shape ``[runs]``, without NaN.
        predictors: Each of shape ``[runs, columns]``: one column of a number, several of the levels of a factor.
        groups: The group of each run, shape ``[runs]``; no group has runs of two units.
        units: What is resampled, shape ``[runs]``.
        stream: Where resamples are drawn from.
        given: What enters before all predictors in every order, shape ``[runs, columns]``, and has no share of its own.
        resamples: How many resamples are drawn.

    Returns:
        The shares; NaN where the quantity does not vary within groups, or there are no more runs than columns.

    Reference: Ezekiel, "Methods of Correlation Analysis", Wiley 1930 (adjusted R^2).
    """
    _, group = np.unique(groups, return_inverse=True)
    found, unit = np.unique(units, return_inverse=True)
    first = [] if given is None else [given]
    columns = _centered(np.column_stack([*first, *predictors, values]), group)
    products = np.zeros((len(found), columns.shape[1], columns.shape[1]))
    np.add.at(products, unit, columns[:, :, None] * columns[:, None, :])
    ends = np.cumsum([0, *(block.shape[1] for block in (*first, *predictors))])
    places = [list(range(*pair)) for pair in itertools.pairwise(ends)]
    before, count = [] if given is None else places[0], len(predictors)
    orders = tuple(itertools.permutations(range(count)))
    left = len(values) - int(group.max(initial=-1)) - 1

    def statistic(weights: np.ndarray) -> np.ndarray:
        explained = _explained(np.tensordot(weights, products, axes=1), places[len(first) :], before, left)
        steps = [_steps(explained, order) for order in orders]
        mean = _mean(steps, orders)
        differences = mean[:, :, None] - mean[:, None, :]
        return np.concatenate([np.stack([*steps, mean], axis=1), differences], axis=1)

    bounds = centered_interval(statistic, len(found), stream, resamples=resamples)
    steps, mean, differences = (bounds.at(part) for part in (slice(len(orders)), len(orders), slice(-count, None)))
    return Partition(orders, steps, mean, differences, len(values), int(group.max(initial=-1)) + 1)


def _centered(columns: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return columns without the means of groups; zero where no more is left than rounding."""
    sums = np.zeros((group.max(initial=-1) + 1, columns.shape[1]))
    np.add.at(sums, group, columns)
    found = columns - (sums / np.bincount(group)[:, None])[group]
    constant = np.sum(found**2, axis=0) <= _ROUNDING * np.sum(columns**2, axis=0)
    return np.where(constant, 0.0, found)


def _explained(
    products: np.ndarray, places: list[list[int]], given: list[int], left: int
) -> dict[frozenset[int], np.ndarray]:
    """Return the adjusted R^2 of the last column on each set of predictors.

    Args:
        products: Of columns, shape ``[resamples, m, m]``.
        places: The columns of each predictor.
        given: The columns that are in every set.
        left: The degrees of freedom within groups.
    """
    total = products[:, -1, -1]
    rest = {frozenset[int](): _without(_Rest(products, np.zeros(len(products))), given, products)}
    for size in range(1, len(places) + 1):
        for chosen in map(frozenset, itertools.combinations(range(len(places)), size)):
            last = max(chosen)
            rest[chosen] = _without(rest[chosen - {last}], places[last], products)
    return {chosen: _adjusted(found, total, left) for chosen, found in rest.items()}


@dataclass(frozen=True)
class _Rest:
    """What is left of columns after regression on some of them.

    Attributes:
        products: Of what is left, shape ``[resamples, m, m]``.
        rank: On how many columns that are not collinear, shape ``[resamples]``.
    """

    products: np.ndarray
    rank: np.ndarray


def _adjusted(rest: _Rest, total: np.ndarray, left: int) -> np.ndarray:
    """Return 1 minus the variance that is left for each degree of freedom, by the same of the quantity."""
    free = left - rest.rank
    known = (total > 0) & (free > 0)
    unexplained = np.divide(rest.products[:, -1, -1], total, out=np.full(total.shape, np.nan), where=known)
    return 1 - unexplained * left / np.where(known, free, 1)


def _without(rest: _Rest, columns: list[int], products: np.ndarray) -> _Rest:
    """Return what is left of all columns after regression on further ones; collinear ones are passed over."""
    found, rank = rest.products, rest.rank
    for column in columns:
        pivot = found[:, column, column]
        own = pivot > _COLLINEAR * np.abs(products[:, column, column])
        inverse = np.divide(1.0, pivot, out=np.zeros(pivot.shape), where=own)
        found = found - found[:, :, column, None] * found[:, None, column, :] * inverse[:, None, None]
        rank = rank + own
    return _Rest(found, rank)


def _steps(explained: dict[frozenset[int], np.ndarray], order: Order) -> np.ndarray:
    """Return what each predictor adds in an order, shape ``[resamples, p]``."""
    reached = [explained[frozenset(order[:count])] for count in range(len(order) + 1)]
    return np.diff(np.stack(reached, axis=1), axis=1)


def _mean(steps: list[np.ndarray], orders: tuple[Order, ...]) -> np.ndarray:
    """Return what each predictor adds in the mean over orders, shape ``[resamples, p]``."""
    return np.mean([step[:, np.argsort(order)] for step, order in zip(steps, orders, strict=True)], axis=0)
