"""How a quantity moves along levels that have an order: within each seed, so that seeds are the units."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats

from sharpscope.analysis.statistics.bca import Bounds, bca_interval
from sharpscope.analysis.statistics.bootstrap import RESAMPLES, resampled_weights
from sharpscope.analysis.statistics.interval import LEVEL
from sharpscope.analysis.statistics.partial import partial_correlation
from sharpscope.analysis.statistics.westfall_young import westfall_young
from sharpscope.numpy_stream import NumpyStream

LEAST_LEVELS = 3  # two levels are a contrast, and have no course
LEAST_FOR_PARTIAL = 5
LEAST_FOR_BAND = 4  # seeds; that of fewer is wider than the figure
_RESAMPLED_FROM = 10  # seeds

_ROUNDING = 1e-12


def complete(values: np.ndarray) -> np.ndarray:
    """Return whether a seed has the first and the last level, and at least one between.

    So no course is told beyond the levels that were seen, and a run that is lost on the way costs no seed.

    Args:
        values: Shape ``[..., levels, seeds]``; NaN where there is none.
    """
    present = np.isfinite(values)
    return present[..., 0, :] & present[..., -1, :] & (present.sum(axis=-2) >= LEAST_LEVELS)


def rank_trends(values: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of a quantity with the order of the levels in each seed; +1 where it always rises.

    It is 0 where a seed has one and the same value everywhere, which is no trend, and values that differ by their
    rounding alone are ties.

    Args:
        values: By level in their order, shape ``[..., levels, seeds]``; NaN where there is none.

    Returns:
        Shape ``[..., seeds]``; NaN for a seed that is not ``complete``.

    Reference: Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 1945.
    """
    first, second = np.triu_indices(values.shape[-2], 1)
    rises = values[..., second, :] - values[..., first, :]
    known = np.isfinite(rises)
    size = _size(values)[..., None, :]
    signs = np.where(known & (np.abs(rises) > _ROUNDING * size), np.sign(np.where(known, rises, 0.0)), 0.0)
    pairs, untied = known.sum(axis=-2), np.abs(signs).sum(axis=-2)
    scale = np.sqrt(pairs * untied)
    found = np.divide(signs.sum(axis=-2), scale, out=np.zeros(scale.shape), where=scale > 0)
    return np.where(complete(values), found, np.nan)


def slopes(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the least-squares slope of a quantity in each seed.

    Args:
        values: Shape ``[..., levels, seeds]``; NaN where there is none.
        x: Where the levels lie, rising, shape ``[levels]``: from 0 to 1, the slope is the change from end to end.

    Returns:
        Shape ``[..., seeds]``; NaN for a seed that is not ``complete``.
    """
    return _coefficient(values, _centered(np.broadcast_to(x[:, None], values.shape), np.isfinite(values)))


def bends(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return how far the middle of a quantity's course lies above the straight line between its ends, in each seed.

    The course is the least-squares parabola; of one with the quadratic term ``c`` that is ``-c / 4``.

    Args:
        values: Shape ``[..., levels, seeds]``; NaN where there is none.
        x: Where the levels lie, rising from 0 to 1, shape ``[levels]``.

    Returns:
        Shape ``[..., seeds]``; NaN for a seed that is not ``complete``.
    """
    present = np.isfinite(values)
    line = _centered(np.broadcast_to(x[:, None], values.shape), present)
    square = _centered(np.broadcast_to(x[:, None] ** 2, values.shape), present)
    shared, size = (np.sum(line * other, axis=-2, keepdims=True) for other in (square, line))
    rest = square - line * np.divide(shared, size, out=np.zeros(size.shape), where=size > 0)
    return -_coefficient(values, rest) / 4


def _centered(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    count = np.maximum(present.sum(axis=-2, keepdims=True), 1)
    mean = np.where(present, x, 0.0).sum(axis=-2, keepdims=True) / count
    return np.where(present, x - mean, 0.0)


def _coefficient(values: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the coefficient of a regressor that is orthogonal to all others, by seed."""
    known = np.where(np.isfinite(values), values, 0.0)
    size = np.sum(direction**2, axis=-2)
    found = np.divide(np.sum(direction * known, axis=-2), size, out=np.full(size.shape, np.nan), where=size > 0)
    # A constant has a slope in the last bits, which has no sign.
    noise = _ROUNDING * _size(values) / np.sqrt(np.where(size > 0, size, 1.0))
    found = np.where(np.abs(found) > noise, found, np.where(np.isnan(found), np.nan, 0.0))
    return np.where(complete(values), found, np.nan)


def _size(values: np.ndarray) -> np.ndarray:
    return np.max(np.abs(np.where(np.isfinite(values), values, 0.0)), axis=-2, initial=0.0)


def partial_correlations(values: np.ndarray, x: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the correlation of a quantity with the position of the levels in each seed, given a third quantity.

    What is taken out of both is the parabola in the third quantity, of a seed with five levels the straight line; see
    ``partial_correlation``.

    Args:
        values: Shape ``[levels, seeds]``; NaN where there is none.
        x: Where the levels lie, shape ``[levels]``.
        given: What is held fixed, shape ``[levels, seeds]``.

    Returns:
        Shape ``[seeds]``; NaN where fewer than five levels have both, or where one of the three is constant, or all but
        what is taken out.
    """
    both = np.isfinite(values) & np.isfinite(given)
    found = np.full(values.shape[1], np.nan)
    for seed in np.flatnonzero(both.sum(axis=0) >= LEAST_FOR_PARTIAL):
        rows = both[:, seed]
        (found[seed],) = partial_correlation(x[None, rows], values[None, rows, seed], given[None, rows, seed]).ravel()
    return found


def fixed_sequence(p: Iterable[float], alpha: float) -> int:
    """Return how many tests in a fixed sequence are significant: up to the first that is not.

    Each is tested at the whole ``alpha``, and yet the chance of any false finding is bounded by it.

    Reference: Westfall & Krishen, "Optimally Weighted, Fixed Sequence and Gatekeeper Multiple Testing Procedures",
    J. Statist. Plann. Inference 2001.

    >>> fixed_sequence([0.01, 0.04, 0.2, 0.01], alpha=0.05)
    2
    """
    found = 0
    for one in p:
        if not one <= alpha:
            break
        found += 1
    return found


def turns(values: np.ndarray, stream: NumpyStream, *, alpha: float = 0.05) -> bool:
    """Return whether a course is not monotone: steps between adjacent levels are significant in both directions.

    The steps are one family of Westfall and Young.

    Args:
        values: Shape ``[levels, seeds]``; NaN where there is none.
        stream: Where patterns of signs are drawn from.
        alpha: The level of the family.
    """
    steps = np.diff(values, axis=0)
    p = westfall_young(steps, stream, alpha=alpha)
    known = np.isfinite(steps)
    means = np.where(known, steps, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    signs = np.sign(means[p <= alpha])
    return bool((signs > 0).any() and (signs < 0).any())


def course_band(values: np.ndarray, stream: NumpyStream, *, level: float = LEVEL, resamples: int = RESAMPLES) -> Bounds:
    """Return the mean over seeds at each level with a band that holds the whole course.

    It is the bootstrap of ``max |mean* - mean| / se`` over levels, whole seeds resampled, its quantile read as that of
    the deviate of Student's t that is as rare. Fewer than ten seeds hardly show how their levels go together: their
    resamples held courses of eleven levels in 86% of cases with five seeds. Their band is that of Bonferroni.

    Args:
        values: Shape ``[levels, seeds]``; NaN where there is none.
        stream: Where resamples of seeds are drawn from.
        level: The share of bands that are to hold all of the true course.
        resamples: How many resamples are drawn.

    Returns:
        Three arrays of shape ``[levels]``; no ends where a level has fewer than ``LEAST_FOR_BAND`` seeds.

    Reference: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 12; Hesterberg, "What Teachers
    Should Know About the Bootstrap", The American Statistician 2015, section 3.3, for few seeds.
    """
    present = np.isfinite(values)
    count = present.sum(axis=1)
    known = np.where(present, values, 0.0)
    mean = np.divide(known.sum(axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
    spread = np.where(present, values - mean[:, None], 0.0)
    banded = count >= LEAST_FOR_BAND
    if not banded.any():
        return Bounds(mean, *(np.full(count.shape, np.nan) for _ in range(2)))
    se = np.where(banded, np.sqrt(np.sum(spread**2, axis=1) / np.maximum(count * (count - 1), 1)), np.nan)
    n = int(count[banded].min())
    tail = (1 - level) / (2 * int(banded.sum()))
    if n >= _RESAMPLED_FROM:
        weights = resampled_weights(values.shape[1], stream, resamples)
        tail = _rarest(weights @ spread[banded].T, weights @ present[banded].T, se[banded], level, n)
    reach = stats.t.isf(tail, n - 1) * se
    return Bounds(mean, mean - reach, mean + reach)


def _rarest(sums: np.ndarray, counts: np.ndarray, se: np.ndarray, level: float, n: int) -> float:
    """Return the tail beyond which the largest of resampled deviates lies, of deviations by resample and level."""
    moved = np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0)
    largest = np.divide(np.abs(moved), se, out=np.zeros(moved.shape), where=se > 0).max(axis=1)
    # Resampled means vary too little by (n - 1) / n.
    return float(stats.norm.sf(np.quantile(largest, level) * np.sqrt(n / (n - 1))))


def through(values: np.ndarray, mediator: np.ndarray, x: np.ndarray, stream: NumpyStream) -> tuple[Bounds, int]:
    """Return the slope of a quantity, the part of it that goes through another one, and what is left.

    The part is the slope of the other quantity on ``x``, times how the quantity moves with it where seed and level are
    the same, which is estimated over both together. It is bookkeeping and no cause.

    Args:
        values: Shape ``[levels, seeds]``; NaN where there is none.
        mediator: Shape ``[levels, seeds]``.
        x: Where the levels lie, shape ``[levels]``.
        stream: Where resamples of seeds are drawn from.

    Returns:
        The three with intervals, shape ``[3]``, and how many seeds have everything at all levels, which count alone.
        NaN for fewer than two of them, or where the other quantity does not vary within seed and level.

    Reference: Baron & Kenny, "The Moderator-Mediator Variable Distinction", J. Pers. Soc. Psychol. 1986.
    """
    rows = np.isfinite(values).all(axis=0) & np.isfinite(mediator).all(axis=0)
    n = int(rows.sum())
    if n < 2:
        return Bounds(*(np.full(3, np.nan) for _ in range(3))), n
    y, m = (one[:, rows] - one[:, rows].mean(axis=0) for one in (values, mediator))
    line = (x - x.mean()) / np.sum((x - x.mean()) ** 2)

    def statistic(weights: np.ndarray) -> np.ndarray:
        share = weights / weights.sum(axis=1, keepdims=True)
        mean_y, mean_m = share @ y.T, share @ m.T
        shared = share @ np.sum(y * m, axis=0) - np.sum(mean_y * mean_m, axis=1)
        own = share @ np.sum(m * m, axis=0)
        left = own - np.sum(mean_m**2, axis=1)
        moves = np.divide(shared, left, out=np.full(len(share), np.nan), where=left > _ROUNDING * own)
        total, part = mean_y @ line, moves * (mean_m @ line)
        return np.stack([total, part, total - part], axis=1)

    return bca_interval(statistic, n, stream), n
