"""Bootstrap intervals of any statistic of seeds: bias-corrected and accelerated, widened for few seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sharpscope.analysis.statistics.bootstrap import RESAMPLES, expanded_tail, resampled_weights
from sharpscope.analysis.statistics.interval import LEVEL
from sharpscope.numpy_stream import NumpyStream

LEAST_SEEDS = 4  # fewer have too few different resamples
AT_ONCE = 250  # resamples, so that what a statistic holds of each run stays small

# How often each unit is drawn, shape [resamples, n], to one or more numbers of each resample, shape [resamples, ...].
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Bounds:
    """Statistics with their intervals, each an array of the statistics' shape.

    Attributes:
        value: The statistics of all units.
        low: Lower ends; NaN for fewer than ``LEAST_SEEDS`` units, or where the statistic is undefined.
        high: Upper ends.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, index: int | slice) -> Bounds:
        """Return what is at an index of the first axis, or at several."""
        return Bounds(self.value[index], self.low[index], self.high[index])

    @property
    def sign(self) -> np.ndarray:
        """+1 where the interval lies above zero, -1 below, 0 where it holds zero or there is none."""
        return (self.low > 0).astype(int) - (self.high < 0).astype(int)

    def p(self, n: int, level: float = LEVEL) -> np.ndarray:
        """Return two-sided p of zero, for the correction of several: below ``1 - level`` where zero lies outside.

        The half of an interval towards zero is read as that of Student's t with ``n - 1`` degrees of freedom. A p by
        counting resamples could be no smaller than their number and ``n`` allow, at which a family of ten tests of ten
        seeds could find nothing.

        Args:
            n: How many units the intervals are of.
            level: The level of the intervals.
        """
        half = np.where(self.value > 0, self.value - self.low, self.high - self.value)
        quantile_of_half = stats.t.isf((1 - level) / 2, max(n - 1, 1))
        with np.errstate(divide="ignore", invalid="ignore"):  # an interval without width, and one about zero
            away = np.where(self.value == 0, 0.0, np.abs(self.value) / half)
        return np.where(np.isfinite(half), 2 * stats.t.sf(quantile_of_half * away, max(n - 1, 1)), np.nan)


def bca_interval(
    statistic: Statistic,
    n: int,
    stream: NumpyStream,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    at_once: int = AT_ONCE,
) -> Bounds:
    """Return statistics with their bias-corrected and accelerated bootstrap intervals over ``n`` units.

    Its quantiles are those of ``expanded_tail``: plain ones held the mean of six rank correlations of ten units in 93%
    of cases where 95% were asked, expanded ones in 97%. Resamples in which a statistic is undefined are left out.

    Args:
        statistic: Of the units, by how often each is drawn; seeds are the units, each with all its runs.
        n: How many units there are.
        stream: Where the resamples are drawn from.
        level: The share of intervals that are to hold the truth.
        resamples: How many resamples are drawn.
        at_once: How many of them the statistic is given at a time.

    Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.
    """
    found = resampled(statistic, n, stream, resamples, at_once=at_once)
    if n < LEAST_SEEDS:
        return found.unbounded()
    tail = float(stats.norm.ppf(expanded_tail(n, level)))
    bias, acceleration = _bias(found.drawn, found.value), _acceleration(found.without)
    ordered = np.sort(found.drawn, axis=0)  # NaN last
    return found.bounds(*(quantile(ordered, _share(bias, acceleration, z)) for z in (tail, -tail)))


@dataclass(frozen=True)
class Resampled:
    """Statistics in resamples of their units, ``k`` of them in a row.

    Attributes:
        value: Of all units, shape ``[k]``.
        drawn: In each resample, shape ``[resamples, k]``; of fewer than ``LEAST_SEEDS`` units there are none.
        without: Without each of the units, shape ``[n, k]``; likewise.
        shape: The shape that the statistics have.
    """

    value: np.ndarray
    drawn: np.ndarray
    without: np.ndarray
    shape: tuple[int, ...]

    def bounds(self, low: np.ndarray, high: np.ndarray) -> Bounds:
        """Return the statistics with intervals, each ``[k]``, made to hold them; NaN where one is undefined."""
        defined = np.isfinite(self.value) & np.isfinite(low) & np.isfinite(high)
        low = np.where(defined, np.fmin(low, self.value), np.nan)
        high = np.where(defined, np.fmax(high, self.value), np.nan)
        return Bounds(*(found.reshape(self.shape) for found in (self.value, low, high)))

    def unbounded(self) -> Bounds:
        """Return the statistics without intervals."""
        nothing = np.full(self.value.shape, np.nan)
        return self.bounds(nothing, nothing)


def resampled(
    statistic: Statistic, n: int, stream: NumpyStream, resamples: int, *, at_once: int = AT_ONCE
) -> Resampled:
    """Return statistics of ``n`` units with their resamples, and without one unit after the other."""
    value = np.asarray(statistic(np.ones((1, n))), dtype=np.float64)[0]
    shape, size = value.shape, value.size
    if n < LEAST_SEEDS:
        return Resampled(value.ravel(), np.empty((0, size)), np.empty((0, size)), shape)
    weights = resampled_weights(n, stream, resamples)
    parts = [np.asarray(statistic(weights[start : start + at_once])) for start in range(0, resamples, at_once)]
    without = np.asarray(statistic(1.0 - np.eye(n)))
    return Resampled(value.ravel(), np.concatenate(parts).reshape(resamples, size), without.reshape(n, size), shape)


def _bias(drawn: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return how far the statistic lies from the median of its resamples, in standard deviations."""
    known = np.isfinite(drawn).sum(axis=0)
    below = np.sum(drawn < value, axis=0) + 0.5 * np.sum(drawn == value, axis=0)
    share = np.divide(below, known, out=np.full(value.shape, 0.5), where=known > 0)
    edge = 1 / (np.maximum(known, 1) + 1)
    return stats.norm.ppf(np.clip(share, edge, 1 - edge))


def _acceleration(without: np.ndarray) -> np.ndarray:
    """Return how the standard deviation of the statistic grows with it, by leaving out one unit after the other."""
    known = np.isfinite(without)
    count = np.maximum(known.sum(axis=0), 1)
    away = np.where(known, np.where(known, without, 0.0).sum(axis=0) / count - without, 0.0)
    size = np.sum(away**2, axis=0) ** 1.5
    return np.divide(np.sum(away**3, axis=0), 6 * size, out=np.zeros(size.shape), where=size > 0)


def _share(bias: np.ndarray, acceleration: np.ndarray, z: float) -> np.ndarray:
    """Return the share of resamples that lie below the end of the interval."""
    moved = bias + z
    room = 1 - acceleration * moved
    far = np.divide(moved, room, out=np.copysign(np.inf, moved), where=room > 0)
    return stats.norm.cdf(bias + far)


def quantile(ordered: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return a quantile of each statistic by its resamples in order, NaN last, shape ``[resamples, ...]``."""
    known = np.isfinite(ordered).sum(axis=0)
    at = share * np.maximum(known - 1, 0)
    first = np.floor(at).astype(int)
    a, b = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (first, np.minimum(first + 1, known - 1)))
    return np.where(known > 0, a + (at - first) * (b - a), np.nan)
