"""Rank correlations of many quantities at once, in every resample of the runs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

from sharpscope.numpy_stream import NumpyStream

EXACT_UP_TO = 8  # points, whose 40,320 orders are all looked at
DRAWS = 9_999
_EXACT = 3 * 2.0**24  # cube of as many runs, up to which single precision has all products of ranks exactly
_ROUNDING = 1e-9
_COLLINEAR = 1e-10  # share of a quantity's variation below which those before it tell all of it


@dataclass(frozen=True)
class Ranked:
    """Quantities of runs, ready to be ranked in any resample of the units that the runs belong to.

    The rank of a run, twice and from the middle on, is how many more runs lie below it than above it. That is linear
    in how often each unit is drawn, so it is counted by unit once and not for every resample.

    Attributes:
        lead: How many more runs of each unit lie below each run than above it, shape ``[quantities, n, units]``.
        unit: The unit of each run, as a number from 0, shape ``[n]``.
    """

    lead: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, unit: np.ndarray | None = None, *, units: int = 0) -> Ranked:
        """Return quantities ready to be ranked.

        Args:
            values: Shape ``[quantities, n]``, without NaN.
            unit: The unit of each run, as a number from 0, shape ``[n]``; each run is one of its own where none is
                given.
            units: How many units there are, where some may have no run here.
        """
        unit = np.arange(values.shape[1]) if unit is None else unit
        count = max(units, int(unit.max(initial=-1)) + 1)
        member = (unit[:, None] == np.arange(count)).astype(np.float32)
        lead = np.empty((*values.shape, count), dtype=_exactly(count * member.sum(axis=0).max(initial=0.0)))
        for row, found in zip(values, lead, strict=True):
            found[:] = (row < row[:, None]).astype(np.float32) @ member - (row > row[:, None]).astype(
                np.float32
            ) @ member
        return cls(lead, unit)

    def drawn(self, weights: np.ndarray) -> Drawn:
        """Return the ranks in resamples, given how often each unit is drawn, shape ``[resamples, units]``."""
        count, n, units = self.lead.shape
        runs = (weights @ np.bincount(self.unit, minlength=units)).max(initial=0.0)
        kind = np.promote_types(_exactly(runs), self.lead.dtype)
        w, lead = weights.astype(kind), self.lead.astype(kind, copy=False)
        ranks = (w @ lead.reshape(count * n, units).T).reshape(-1, count, n)
        weighted = ranks * w[:, None, self.unit]
        return Drawn(ranks, weighted, np.einsum("rqn,rqn->rq", ranks, weighted).astype(np.float64))


def _exactly(runs: float) -> Any:
    """Return the precision in which all products of the ranks of so many drawn runs are exact."""
    return np.float32 if runs**3 < _EXACT else np.float64


@dataclass(frozen=True)
class Drawn:
    """Ranks of quantities in resamples: whole numbers, so that products of them are exact.

    Attributes:
        ranks: Twice the ranks from the middle on, shape ``[resamples, quantities, n]``.
        weighted: The same, times how often the run is drawn.
        squares: Their weighted sums of squares, shape ``[resamples, quantities]``; 0 of a constant quantity.
    """

    ranks: np.ndarray
    weighted: np.ndarray
    squares: np.ndarray

    def correlated(self, other: Drawn) -> np.ndarray:
        """Return the correlations of ranks, shape ``[resamples, p, q]``; NaN where one of the two is constant."""
        products = (self.weighted @ other.ranks.transpose(0, 2, 1)).astype(np.float64)
        sizes = np.sqrt(self.squares[:, :, None] * other.squares[:, None, :])
        return np.divide(products, sizes, out=np.full(products.shape, np.nan), where=sizes > 0)


def spearman(x: Ranked, y: Ranked, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficient of each of some quantities with each of others, in each resample.

    Args:
        x: ``p`` quantities.
        y: ``q`` quantities of the same runs.
        weights: How often each unit is drawn, shape ``[resamples, units]``.

    Returns:
        Shape ``[resamples, p, q]``; NaN where one of the two is constant in a resample.
    """
    return x.drawn(weights).correlated(y.drawn(weights))


def spearman_given(x: Ranked, y: Ranked, given: Ranked | None, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficients, and beside them those that hold other quantities fixed.

    The second are correlations of the residuals of ranks after linear regression on the ranks of these.

    Args:
        x: ``p`` quantities.
        y: ``q`` quantities of the same runs.
        given: Those that the second coefficients hold fixed; None for none.
        weights: How often each unit is drawn, shape ``[resamples, units]``.

    Returns:
        Shape ``[resamples, 2, p, q]``; NaN where a quantity is constant, or a function of the ranks of those held
        fixed.
    """
    a, b = x.drawn(weights), y.drawn(weights)
    plain = a.correlated(b)
    partial = np.full(plain.shape, np.nan)
    if given is not None:
        _partial(a, b, given.drawn(weights), plain, out=partial)
    return np.stack([plain, partial], axis=1)


def _partial(a: Drawn, b: Drawn, c: Drawn, plain: np.ndarray, *, out: np.ndarray) -> None:
    """Write the correlations of what is left of ``a`` and ``b`` once each quantity of ``c`` is swept out of both."""
    across, of_a, of_b, own = plain.copy(), a.correlated(c), c.correlated(b), c.correlated(c)
    left_a, left_b = np.ones(of_a.shape[:2]), np.ones((len(of_b), of_b.shape[2]))
    for k in range(own.shape[1]):
        left = own[:, k, k]
        # What those before it tell all of adds nothing; what is constant makes all of it undefined.
        size = np.divide(1, left, out=np.where(np.isnan(left), np.nan, 0.0), where=left > _COLLINEAR)[:, None]
        share_a, share_b = of_a[:, :, k] * size, of_b[:, k] * size
        across -= share_a[:, :, None] * of_b[:, k, None]
        left_a -= share_a * of_a[:, :, k]
        left_b -= share_b * of_b[:, k]
        row = own[:, k].copy()
        of_a = of_a - share_a[:, :, None] * row[:, None]
        of_b = of_b - (row * size)[:, :, None] * of_b[:, k, None]
        own = own - (row * size)[:, :, None] * row[:, None]
    rest = left_a[:, :, None] * left_b[:, None]
    np.divide(across, np.sqrt(np.maximum(rest, 0)), out=out, where=rest > _ROUNDING)


def spearman_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficient of each of ``x``, shape ``[p, n]``, with each of ``y``, ``[q, n]``: ``[p, q]``."""
    one = np.zeros(x.shape[1], dtype=np.int64)
    return spearman(Ranked.of(x, one, units=1), Ranked.of(y, one, units=1), np.ones((1, 1)))[0]


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
