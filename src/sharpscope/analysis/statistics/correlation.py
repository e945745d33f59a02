"""Rank correlations over runs: pooled, and within regimes, with intervals that resample whole seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.bootstrap import expanded_tail, resampled_weights
from sharpscope.analysis.statistics.interval import LEVEL
from sharpscope.numpy_stream import NumpyStream

RESAMPLES = 2_000


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval.

    Attributes:
        n: Runs in which both quantities are present.
        spearman: Spearman's coefficient; NaN where it is undefined.
        low: Lower end of its bootstrap interval; NaN for fewer than four seeds.
        high: Upper end.
        kendall: Kendall's tau-b.
    """

    n: int
    spearman: float
    low: float
    high: float
    kendall: float


def rank_correlation(
    x: np.ndarray,
    y: np.ndarray,
    seeds: np.ndarray,
    stream: NumpyStream,
    *,
    cells: np.ndarray | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Correlation:
    """Return how two quantities rank together over runs.

    Runs of one seed share their initialization, so seeds are resampled, each with all its runs: this keeps their
    dependence and the share of every regime.

    Args:
        x: One quantity, shape ``[n]``; runs with a NaN are left out.
        y: The other one, shape ``[n]``.
        seeds: The seed of each run, shape ``[n]``.
        stream: Where the resamples are drawn from.
        cells: The cell of each run; when given, the result is the mean of the coefficients within the cells, which
            differences between cells cannot move.
        level: The level of the interval.
        resamples: How many resamples are drawn.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y, seeds = x[keep], y[keep], seeds[keep]
    labels = np.zeros(len(x), dtype=np.int64) if cells is None else np.unique(cells[keep], return_inverse=True)[1]
    parts = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    spearman = _mean([float(weighted_spearman(x[i], y[i], np.ones((1, len(i))))[0]) for i in parts])
    kendall = _mean([_kendall(x[i], y[i]) for i in parts])
    units, unit_of_run = np.unique(seeds, return_inverse=True)
    if len(units) < 4 or not np.isfinite(spearman):
        return Correlation(len(x), spearman, float("nan"), float("nan"), kendall)
    weights = resampled_weights(len(units), stream, resamples)[:, unit_of_run]
    drawn = np.stack([weighted_spearman(x[i], y[i], weights[:, i]) for i in parts])
    low, high = _percentiles(drawn, len(units), level)
    return Correlation(len(x), spearman, min(low, spearman), max(high, spearman), kendall)


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's coefficient of each resample; NaN where one of the two is constant in it.

    Args:
        x: Shape ``[n]``.
        y: Shape ``[n]``.
        weights: How often each run is drawn, shape ``[resamples, n]``.
    """
    total = weights.sum(axis=1)
    centered = []
    for values in (x, y):
        ranks = weights @ _not_above(values)  # midranks in each resample, up to a constant
        mean = np.divide(_dot(weights, ranks), total, out=np.zeros_like(total), where=total > 0)
        centered.append(ranks - mean[:, None])
    a, b = centered
    weighted = weights * a
    variance = _dot(weighted, a) * _dot(weights * b, b)
    defined = variance > 1e-9
    return np.divide(_dot(weighted, b), np.sqrt(variance), out=np.full(len(weights), np.nan), where=defined)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the inner product of each row of one with the same row of the other."""
    return np.einsum("ri,ri->r", a, b)


def _not_above(values: np.ndarray) -> np.ndarray:
    """Return the matrix that turns counts into midranks: [j, i] is 1 where j is below i, 1/2 where they tie."""
    below = values[:, None] < values[None, :]
    tied = values[:, None] == values[None, :]
    return below + 0.5 * tied


def _kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Return Kendall's tau-b; NaN where one of the two is constant."""
    a, b = (np.sign(values[:, None] - values[None, :]) for values in (x, y))
    ordered = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / ordered if ordered else float("nan")


def _mean(values: list[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _percentiles(drawn: np.ndarray, n: int, level: float) -> tuple[float, float]:
    """Return the interval of the mean over parts, shape ``[parts, resamples]``; undefined parts are left out."""
    defined = np.isfinite(drawn)
    counts = defined.sum(axis=0)
    sums = np.where(defined, drawn, 0.0).sum(axis=0)
    means = sums[counts > 0] / counts[counts > 0]
    if not len(means):
        return float("nan"), float("nan")
    tail = expanded_tail(n, level)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
