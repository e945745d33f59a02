"""Rank correlations of many quantities at once, in every resample of the runs."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from scipy import stats

from sharpscope.numpy_stream import NumpyStream

EXACT_UP_TO = 8  # points, whose 40,320 orders are all looked at
DRAWS = 9_999
_FEW = 100  # runs up to which products are faster than sorting
_ROUNDING = 1e-9
_COLLINEAR = 1e-6  # what is left of a vector of norm one when others tell all of it


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficient of each of some quantities with each of others, in each resample.

    Args:
        x: Shape ``[p, n]``, without NaN.
        y: Shape ``[q, n]``, without NaN.
        weights: How often each run is drawn, shape ``[resamples, n]``.

    Returns:
        Shape ``[resamples, p, q]``; NaN where one of the two is constant in a resample.
    """
    return _products(standardized(x, weights), standardized(y, weights))


def spearman_given(x: np.ndarray, y: np.ndarray, given: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficients, and beside them those that hold other quantities fixed.

    The second are correlations of the residuals of ranks after linear regression on the ranks of these.

    Args:
        x: Shape ``[p, n]``, without NaN.
        y: Shape ``[q, n]``, without NaN.
        given: What the second coefficients hold fixed, shape ``[n]``, or ``[g, n]`` of several; NaN for none.
        weights: How often each run is drawn, shape ``[resamples, n]``.

    Returns:
        Shape ``[resamples, 2, p, q]``; NaN where a quantity is constant, or given by the ranks of those held fixed.
    """
    a, b = standardized(x, weights), standardized(y, weights)
    plain = _products(a, b)
    partial = np.full(plain.shape, np.nan)
    if np.isfinite(given).all():
        fixed = _orthonormal(standardized(np.atleast_2d(given), weights))
        of_x, of_y = _products(a, fixed), _products(fixed, b)
        left_x, left_y = 1 - np.sum(of_x**2, axis=2)[:, :, None], 1 - np.sum(of_y**2, axis=1)[:, None, :]
        rest = left_x * left_y
        np.divide(plain - of_x @ of_y, np.sqrt(np.maximum(rest, 0)), out=partial, where=rest > _ROUNDING)
    return np.stack([plain, partial], axis=1)


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    """Return orthonormal vectors of the same span, shape ``[resamples, g, n]``; zeros for those that add nothing."""
    found = vectors.copy()
    for place in range(1, vectors.shape[1]):
        before, one = found[:, :place], found[:, place]
        one = one - np.einsum("rg,rgn->rn", np.einsum("rgn,rn->rg", before, one), before)
        size = np.sqrt(np.sum(one**2, axis=1, keepdims=True))
        found[:, place] = np.divide(one, size, out=np.where(np.isnan(one), one, 0.0), where=size > _COLLINEAR)
    return found


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b.transpose(0, 2, 1)


def standardized(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the ranks of quantities in each resample, with mean zero and norm one.

    Args:
        values: Shape ``[quantities, n]``, without NaN.
        weights: How often each run is drawn, shape ``[resamples, n]``.

    Returns:
        Shape ``[resamples, quantities, n]``, each entry times the square root of how often its run is drawn, so that
        inner products are correlations; NaN where a quantity is constant.
    """
    ranks = _by_products(values, weights) if values.shape[1] <= _FEW else _by_order(values, weights)
    share = (weights / np.maximum(weights.sum(axis=1, keepdims=True), 1))[:, None, :]
    centered = (ranks - np.sum(share * ranks, axis=2, keepdims=True)) * np.sqrt(share)
    size = np.sqrt(np.sum(centered**2, axis=2, keepdims=True))
    return np.divide(centered, size, out=np.full(centered.shape, np.nan), where=size > _ROUNDING)


def _by_products(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how many runs of each resample lie below each value, ties half: for few runs, by one product."""
    below = values[:, :, None] < values[:, None, :]
    not_above = below + 0.5 * (values[:, :, None] == values[:, None, :])
    count, n = values.shape
    return (weights @ not_above.transpose(1, 0, 2).reshape(n, count * n)).reshape(-1, count, n)


def _by_order(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the same for many runs, by sorting each quantity once."""
    ranks = np.empty((len(weights), *values.shape))
    for column, row in enumerate(values):
        different, group = np.unique(row, return_inverse=True)
        order = np.argsort(group, kind="stable")
        counts = weights[:, order]
        if len(different) < len(row):
            counts = np.add.reduceat(counts, np.searchsorted(group[order], np.arange(len(different))), axis=1)
        ranks[:, column] = (np.cumsum(counts, axis=1) - counts / 2)[:, group]
    return ranks


def kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each of some quantities with each of others.

    Args:
        x: Shape ``[p, n]``, without NaN.
        y: Shape ``[q, n]``, without NaN.

    Returns:
        Shape ``[p, q]``; NaN where one of the two is constant.
    """
    first, second = np.triu_indices(x.shape[1], 1)
    a, b = (np.sign(values[:, first] - values[:, second]).astype(np.float32) for values in (x, y))
    sizes = np.sqrt(np.outer(*(np.abs(signs).sum(axis=1, dtype=np.float64) for signs in (a, b))))
    return np.divide(a @ b.T, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)


def orders(k: int, stream: NumpyStream) -> np.ndarray:
    """Return orders of ``k`` points, as they stand first, shape ``[orders, k]``; read-only.

    Args:
        k: How many points: all their orders are returned up to ``EXACT_UP_TO``, beyond it as they are and ``DRAWS``
            random ones.
        stream: Where random ones are drawn from.
    """
    return _orders(k, stream.path)


@lru_cache(maxsize=8)
def _orders(k: int, path: tuple[int | str, ...]) -> np.ndarray:
    if k <= EXACT_UP_TO:
        found = np.array(list(itertools.permutations(range(k))), dtype=np.int64).reshape(math.factorial(k), k)
    else:
        found = NumpyStream(*path).numpy().permuted(np.broadcast_to(np.arange(k), (DRAWS + 1, k)), axis=1)
        found[0] = np.arange(k)
    found.flags.writeable = False
    return found


def permutation_spearman(x: np.ndarray, y: np.ndarray, stream: NumpyStream) -> tuple[np.ndarray, np.ndarray]:
    """Return how the means of levels rank together, and in what share of the levels' orders they do so as closely.

    The levels change places in the same way in all settings, so p is about the levels alone.

    Args:
        x: Means of quantities, shape ``[p, settings, levels]``.
        y: Means of others, shape ``[q, settings, levels]``.
        stream: Where orders are drawn from.

    Returns:
        Spearman's coefficients over all means, and two-sided p, each ``[p, q]``; NaN for fewer than three levels, or
        where a quantity is constant.
    """
    settings, levels = x.shape[1:]
    if levels < 3 or not settings:
        return np.full((len(x), len(y)), np.nan), np.full((len(x), len(y)), np.nan)
    a, b = (_normed(stats.rankdata(means.reshape(len(means), -1), axis=1)) for means in (x, y))
    places = orders(levels, stream)
    # The inner product with levels in another order takes only the products of each level of x with each of y.
    products = np.einsum("psi,qsj->pqij", a.reshape(x.shape), b.reshape(y.shape))
    drawn = np.zeros((*products.shape[:2], len(places)))
    for level in range(levels):
        drawn += products[:, :, level, places[:, level]]
    observed = drawn[:, :, :1]
    p = np.mean(np.abs(drawn) >= np.abs(observed) - _ROUNDING, axis=2)
    return observed[:, :, 0], np.where(np.isfinite(observed[:, :, 0]), p, np.nan)


def mean_spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean over blocks of Spearman's coefficients within each.

    Args:
        x: Shape ``[p, blocks, n]``.
        y: Shape ``[q, blocks, n]``.

    Returns:
        Shape ``[p, q]``; blocks in which one of the two is constant are left out, NaN where all are, or ``n < 3``.
    """
    if x.shape[2] < 3:
        return np.full((len(x), len(y)), np.nan)
    a, b = (_normed(stats.rankdata(values, axis=2)) for values in (x, y))
    return mean_of_defined(np.einsum("psi,qsi->spq", a, b))


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _normed(ranks: np.ndarray) -> np.ndarray:
    """Return ranks with mean zero and norm one along the last axis; NaN where they are constant."""
    centered = ranks - ranks.mean(axis=-1, keepdims=True)
    size = np.sqrt(np.sum(centered**2, axis=-1, keepdims=True))
    return np.divide(centered, size, out=np.full(centered.shape, np.nan), where=size > 0)
