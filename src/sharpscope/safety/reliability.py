"""Reliability: how often a model is right, given how sure it says it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.errors import DataError
from sharpscope.safety.splits import Split, TopSplit


@dataclass(frozen=True)
class ReliabilityBins:
    """Samples grouped by confidence into B bins, each open below and closed above.

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

    @property
    def filled(self) -> ReliabilityBins:
        """The bins that hold samples; the edges are left as they are."""
        held = self.count > 0
        return ReliabilityBins(self.edges, self.count[held], self.confidence[held], self.accuracy[held])


def reliability_bins(split: Split | TopSplit, bins: int = 15) -> ReliabilityBins:
    """Group the samples of one set by their confidence, into bins of equal width.

    Args:
        split: Tells of each sample its confidence and whether it is right.
        bins: Number of bins, B.

    Raises:
        DataError: If ``bins`` is less than 1.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    return grouped(split.confidence, split.correct, equal_widths(bins))


def equal_widths(bins: int) -> np.ndarray:
    """Return the edges of bins of equal width, shape ``[B + 1]``.

    Raises:
        DataError: If ``bins`` is less than 1.
    """
    if bins < 1:
        raise DataError(f"a reliability diagram needs at least 1 bin, got {bins}")
    return np.linspace(0.0, 1.0, bins + 1)


def equal_masses(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Return the edges of bins that hold equally many samples, as far as equal confidences let them; shape ``[B + 1]``.

    Samples of one confidence share a bin, so that the bins do not depend on the order of samples. Bins may be empty.

    Args:
        confidence: Of the samples that are to be spread evenly, shape ``[N]``.
        bins: Number of bins, B.

    >>> equal_masses(np.array([0.3, 0.5, 0.6, 0.9]), 2).tolist()
    [0.0, 0.5, 1.0]
    """
    last = -(-len(confidence) * np.arange(1, bins) // bins) - 1
    return np.concatenate([[0.0], np.sort(confidence)[last], [1.0]])


def bin_of(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each sample, shape ``[N]``; what is above the last edge, or not above the first, joins the end.

    Args:
        confidence: Shape ``[N]``.
        edges: Ascending, shape ``[B + 1]``.
    """
    # The first edge not below the confidence closes its bin, so 1.0 falls into the last; 0.0 joins the first.
    return np.searchsorted(edges[1:-1], confidence, side="left")


def grouped(confidence: np.ndarray, happened: np.ndarray, edges: np.ndarray) -> ReliabilityBins:
    """Group forecasts by their probability.

    Args:
        confidence: The probability that was given to an event, shape ``[N]``.
        happened: Whether it happened, shape ``[N]``.
        edges: Ascending, shape ``[B + 1]``.
    """
    bins, index = len(edges) - 1, bin_of(confidence, edges)
    count = np.bincount(index, minlength=bins)
    empty_is_nan = np.where(count > 0, count, np.nan)
    return ReliabilityBins(
        edges=edges,
        count=count,
        confidence=np.bincount(index, confidence, bins) / empty_is_nan,
        accuracy=np.bincount(index, happened, bins) / empty_is_nan,
    )
