"""Reliability: how often a model is right, given how sure it says it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.errors import DataError
from sharpscope.safety.splits import Split, TopSplit


@dataclass(frozen=True)
class ReliabilityBins:
    """Samples grouped by confidence into B bins of equal width, each open below and closed above.

    Attributes:
        edges: Borders of the bins, from 0 to 1, shape ``[B + 1]``.
        count: Samples in each bin, shape ``[B]``.
        confidence: Mean confidence in each bin, NaN where it is empty, shape ``[B]``.
        accuracy: Share of right predictions in each bin, NaN where it is empty, shape ``[B]``.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability_bins(split: Split | TopSplit, bins: int = 15) -> ReliabilityBins:
    """Group the samples of one set by their confidence.

    Args:
        split: Tells of each sample its confidence and whether it is right.
        bins: Number of bins, B.

    Raises:
        DataError: If ``bins`` is less than 1.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if bins < 1:
        raise DataError(f"a reliability diagram needs at least 1 bin, got {bins}")
    edges = np.linspace(0.0, 1.0, bins + 1)
    # The first edge not below the confidence closes its bin, so 1.0 falls into the last; 0.0 joins the first.
    index = np.maximum(np.searchsorted(edges, split.confidence, side="left") - 1, 0)
    count = np.bincount(index, minlength=bins)
    empty_is_nan = np.where(count > 0, count, np.nan)
    return ReliabilityBins(
        edges=edges,
        count=count,
        confidence=np.bincount(index, split.confidence, bins) / empty_is_nan,
        accuracy=np.bincount(index, split.correct, bins) / empty_is_nan,
    )
