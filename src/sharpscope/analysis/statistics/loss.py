"""What remains of a difference at equal train loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.bca import Bounds, bca_interval
from sharpscope.numpy_stream import NumpyStream


@dataclass(frozen=True)
class Adjusted:
    """A contrast with its relation to a covariate taken out.

    Attributes:
        contrast: What the difference would be at an equal covariate, if its relation within cells holds between them.
        slope: How the quantity moves with the covariate within cells.
        seeds: How many seeds have both.
    """

    contrast: Bounds
    slope: Bounds
    seeds: int


def overlap(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of values that lie between the least and the greatest of the reference's in the same setting.

    Args:
        values: Of the level, shape ``[settings, seeds]``; NaN where a run has none.
        reference: Of the reference, shape ``[settings, seeds]``.

    Returns:
        A share; NaN where no setting has the level and two runs of the reference, of which one has no range.

    >>> overlap(np.array([[1.0, 2.0, 9.0, 4.0]]), np.array([[1.5, 4.0, 2.0, 3.0]]))
    0.5
    """
    both = np.isfinite(values).any(axis=1) & (np.isfinite(reference).sum(axis=1) > 1)
    values, reference = values[both], reference[both]
    if not len(values):
        return float("nan")
    least, greatest = np.nanmin(reference, axis=1, keepdims=True), np.nanmax(reference, axis=1, keepdims=True)
    inside = (values >= least) & (values <= greatest)
    return float(inside.sum() / np.isfinite(values).sum())


def retained(there: np.ndarray, at_end: np.ndarray, stream: NumpyStream) -> Bounds:
    """Return the share of a difference at the end of training that is there at a matched train loss.

    Args:
        there: The differences of the seeds at the matched loss, shape ``[seeds]``; NaN where a seed has none.
        at_end: Those at the end, shape ``[seeds]``.
        stream: Where resamples of seeds are drawn from.

    Returns:
        The ratio of the means; NaN where the interval of the mean at the end holds zero, of which there is no share.
    """
    both = np.isfinite(there) & np.isfinite(at_end)
    a, b = there[both], at_end[both]
    undefined = Bounds(*(np.array(np.nan) for _ in range(3)))
    if len(a) < 2 or not bca_interval(lambda w: w @ b / w.sum(axis=1), len(b), stream).sign:
        return undefined

    def ratio(weights: np.ndarray) -> np.ndarray:
        below = weights @ b
        return np.divide(weights @ a, below, out=np.full(len(weights), np.nan), where=below != 0)

    return bca_interval(ratio, len(a), stream)


def adjusted_contrast(
    differences: np.ndarray,
    covariate_differences: np.ndarray,
    values: np.ndarray,
    covariate: np.ndarray,
    stream: NumpyStream,
) -> Adjusted:
    """Return a contrast from which the slope on a covariate, pooled within cells, is taken out.

    The slope is estimated anew in each resample of seeds, so that the interval has its error.

    Args:
        differences: Of the quantity, level minus reference, shape ``[seeds]``; NaN where a seed has none.
        covariate_differences: Of the covariate, shape ``[seeds]``.
        values: The quantity in all cells, shape ``[cells, seeds]``; NaN where there is no run.
        covariate: The covariate, shape ``[cells, seeds]``.
        stream: Where resamples of seeds are drawn from.
    """
    both = np.isfinite(differences) & np.isfinite(covariate_differences)
    moved, by = np.where(both, differences, 0.0), np.where(both, covariate_differences, 0.0)
    present = np.isfinite(values) & np.isfinite(covariate)
    y, x = np.where(present, values, 0.0), np.where(present, covariate, 0.0)

    def statistic(weights: np.ndarray) -> np.ndarray:
        count = weights @ present.T
        xx, xy = weights @ (x * x).T, weights @ (x * y).T
        sum_x, sum_y = weights @ x.T, weights @ y.T
        share = np.divide(sum_x, count, out=np.zeros_like(count), where=count > 0)
        spread, shared = (xx - share * sum_x).sum(axis=1), (xy - share * sum_y).sum(axis=1)
        enough = spread > 1e-12 * np.maximum(xx.sum(axis=1), 1e-300)
        slope = np.divide(shared, spread, out=np.full(len(weights), np.nan), where=enough)
        seeds = weights @ both
        contrast = np.divide(
            weights @ moved - slope * (weights @ by), seeds, out=np.full(len(weights), np.nan), where=seeds > 0
        )
        return np.stack([contrast, slope], axis=1)

    found = bca_interval(statistic, len(differences), stream)
    return Adjusted(found.at(0), found.at(1), int(both.sum()))
