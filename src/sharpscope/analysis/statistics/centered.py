"""Bootstrap intervals of statistics that resampling moves to one side, such as shares of variation."""

from __future__ import annotations

import numpy as np

from sharpscope.analysis.statistics.bca import LEAST_SEEDS, Bounds, Statistic, quantile, resampled
from sharpscope.analysis.statistics.bootstrap import RESAMPLES, expanded_tail
from sharpscope.analysis.statistics.interval import LEVEL
from sharpscope.numpy_stream import NumpyStream


def centered_interval(
    statistic: Statistic, n: int, stream: NumpyStream, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> Bounds:
    """Return statistics with percentile intervals of resamples that are moved to have the statistic as their mean.

    Fewer different units are in a resample than there are, so what grows with fewer of them, as a share of variation
    does, is larger in resamples than it is: near zero nearly all of them lie above the truth, and BCa, which looks
    for the place of the statistic among its resamples, does not find it there. Here that excess is taken off.

    The spread is that of the resamples, or that of leaving out one unit after the other where it is greater, and its
    quantiles are those of ``expanded_tail``. Resamples in which a statistic is undefined are left out.

    Args:
        statistic: Of the units, by how often each is drawn; it has no bias of its own, or hardly any.
        n: How many units there are.
        stream: Where the resamples are drawn from.
        level: The share of intervals that are to hold the truth.
        resamples: How many resamples are drawn.

    Reference: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 10 and 11 (bias and jackknife).
    """
    found = resampled(statistic, n, stream, resamples)
    if n < LEAST_SEEDS:
        return found.unbounded()
    away, spread = _deviations(found.drawn)
    _, of_one = _deviations(found.without)
    # A mean of n units moves by 1/(n - 1) of a unit's deviation without it, and by 1/sqrt(n) of them in a resample.
    widened = np.divide((n - 1) / np.sqrt(n) * of_one, spread, out=np.ones(spread.shape), where=spread > 0)
    ordered = np.sort(away, axis=0)  # NaN last
    tail = np.full(spread.shape, expanded_tail(n, level))
    return found.bounds(*(found.value + np.fmax(widened, 1.0) * quantile(ordered, end) for end in (tail, 1 - tail)))


def _deviations(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far values lie from their mean over the first axis, and the root of their mean square."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    away = values - np.where(known, values, 0.0).sum(axis=0) / count
    return away, np.sqrt(np.sum(np.where(known, away, 0.0) ** 2, axis=0) / count)
