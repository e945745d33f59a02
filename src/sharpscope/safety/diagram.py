"""What a reliability diagram shows of one run, in a few numbers that are kept with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binom

from sharpscope.safety.calibration.expected_error import calibration_error, null_errors
from sharpscope.safety.reliability import ReliabilityBins, equal_masses, grouped, reliability_bins
from sharpscope.safety.splits import Split

# Bins of a diagram, and the share of calibrated models whose accuracy in a bin lies in its band.
BINS = 15
BAND = 0.9
# Borders of 1 - confidence: half decades from 1e-8 to 1; what is below counts with the first.
DOUBT = 10.0 ** np.linspace(-8, 0, 17)
# Where so much of the confidence is above this, an axis of it is spread at its end.
SURE = 0.9


def diagram(split: Split) -> dict[str, Any]:
    """Return what a reliability diagram shows of the predictions on one set, as plain data.

    Returns:
        ``values``: the expected calibration error as ``ece`` and as ``null`` that of a calibrated model, see
        ``calibration``, and as ``sure`` the share of confidence above ``SURE``. ``bins``: of bins that hold equally
        many samples and are not empty the ``count``, mean ``confidence`` and ``accuracy``, and ``low`` and ``high``,
        between which the accuracy of a calibrated model lies in a share ``BAND`` of cases. ``doubt``: how many samples
        have 1 - confidence between the borders ``DOUBT``.
    """
    held = grouped(split.confidence, split.correct, equal_masses(split.confidence, BINS)).filled
    low, high = _band(held)
    values = {
        "ece": calibration_error(reliability_bins(split), "l1"),
        "null": float(null_errors(split, 15, "l1", 200).mean()),
        "sure": float((split.confidence > SURE).mean()),
    }
    columns = {"confidence": held.confidence, "accuracy": held.accuracy, "low": low, "high": high}
    bins = {"count": held.count.tolist(), **{name: column.tolist() for name, column in columns.items()}}
    return {"values": values, "bins": bins, "doubt": _doubt(split).tolist()}


def _band(bins: ReliabilityBins) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles of the accuracy in each bin if each prediction is right with the mean confidence there.

    With the confidence of each the accuracy would spread less, by the spread of confidences within the bin: the band
    is a little too wide.
    """
    tail = (1 - BAND) / 2
    # A mean of confidences may be above 1 by rounding.
    confidence = np.minimum(bins.confidence, 1.0)
    low, high = (binom.ppf(at, bins.count, confidence) / bins.count for at in (tail, 1 - tail))
    return low, high


def _doubt(split: Split) -> np.ndarray:
    """Return how many samples have 1 - confidence in each half decade."""
    doubt = np.exp(-split.sureness)
    return np.histogram(np.clip(doubt, DOUBT[0], DOUBT[-1]), DOUBT)[0]
