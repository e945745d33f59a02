"""The expected calibration error, and what it is of a model that is perfectly calibrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sharpscope.numpy_stream import NumpyStream
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import ReliabilityBins, bin_of, equal_widths, reliability_bins
from sharpscope.safety.shared import shared
from sharpscope.safety.splits import Split

Positive = Annotated[int, Field(ge=1)]
Norm = Literal["l1", "l2", "max"]

# Of weights and gaps of bins, which are along the last axis.
NORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "l1": lambda weights, gaps: (weights * gaps).sum(axis=-1),
    "l2": lambda weights, gaps: np.sqrt((weights * gaps**2).sum(axis=-1)),
    "max": lambda weights, gaps: gaps.max(axis=-1),
}
# Random numbers that are held at a time.
_AT_A_TIME = 2**21
# Two sums of the same numbers in another order differ by less.
_ROUNDING = 1e-12

_RESAMPLING = 'Broecker & Smith, "Increasing the Reliability of Reliability Diagrams", Weather and Forecasting 2007'


@SCORES.register(
    facts=ScoreFacts(
        "Expected calibration error",
        "lower",
        "fraction",
        scale="difference",
        reference=(
            'Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015; '
            'bins and default as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017'
        ),
    )
)
def ece(predictions: Predictions, *, bins: Positive = 15, norm: Norm = "l1") -> float:
    r"""Expected calibration error on the test set.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \, |\mathrm{acc}_b - \mathrm{conf}_b|

    Read it beside ``ece_null``: a perfectly calibrated model does not have an error of 0, since the accuracy in a bin
    of few samples is not its probability.

    Args:
        predictions: Of one run.
        bins: Number of equal-width bins of confidence, each open below and closed above.
        norm: ``l1`` for the mean gap, ``l2`` for the root of the mean squared gap, ``max`` for the largest
            gap.
    """
    return calibration_error(reliability_bins(predictions.test, bins), norm)


def calibration_error(bins: ReliabilityBins, norm: str) -> float:
    """Return the gap between confidence and accuracy over bins, by one of ``NORMS``."""
    held = bins.filled
    return float(NORMS[norm](held.count / held.count.sum(), np.abs(held.accuracy - held.confidence)))


@SCORES.register(
    facts=ScoreFacts("Calibration error of chance alone", None, "fraction", scale="difference", reference=_RESAMPLING)
)
def ece_null(predictions: Predictions, *, bins: Positive = 15, norm: Norm = "l1", draws: Positive = 200) -> float:
    """Mean expected calibration error that this model would have on the test set if it were perfectly calibrated.

    The confidences are those of the model, and whether each prediction is right is drawn with its confidence as the
    probability. An ``ece`` of this size says nothing against calibration.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.
        draws: How often the outcomes are drawn.
    """
    return float(null_errors(predictions.test, bins, norm, draws).mean())


@SCORES.register(
    facts=ScoreFacts(
        "Calibration error beyond chance",
        "lower",
        "fraction",
        scale="difference",
        bounds=(-1.0, 1.0),
        reference=_RESAMPLING,
        default=False,
    )
)
def ece_excess(predictions: Predictions, *, bins: Positive = 15, norm: Norm = "l1", draws: Positive = 200) -> float:
    """Expected calibration error minus that of chance alone, ``ece`` - ``ece_null``; around 0 of a calibrated model.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.
        draws: As of ``ece_null``.
    """
    return ece(predictions, bins=bins, norm=norm) - ece_null(predictions, bins=bins, norm=norm, draws=draws)


@SCORES.register(
    facts=ScoreFacts("p-value of calibration", None, "probability", scale="difference", reference=_RESAMPLING)
)
def p_cal(predictions: Predictions, *, bins: Positive = 15, norm: Norm = "l1", draws: Positive = 200) -> float:
    """Probability of a calibration error at least as large if the model were perfectly calibrated.

    The share of draws, as of ``ece_null``, whose error is at least that of the model; the model counts as one more
    draw, so that the p-value is valid: it is at most x with a probability of at most x, and never 0.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.
        draws: As of ``ece_null``; the smallest p-value is 1 / (``draws`` + 1).
    """
    drawn = null_errors(predictions.test, bins, norm, draws)
    reached = int(np.count_nonzero(drawn >= ece(predictions, bins=bins, norm=norm) - _ROUNDING))
    return (1 + reached) / (1 + draws)


@shared
def null_errors(split: Split, bins: int, norm: str, draws: int) -> np.ndarray:
    """Return the calibration error of each of some draws of outcomes from the confidences, shape ``[draws]``.

    The random numbers are the same for all models, and do not depend on the order of samples.
    """
    confidence = np.sort(split.confidence)
    index = bin_of(confidence, equal_widths(bins))
    begins = np.flatnonzero(np.diff(index, prepend=-1))
    count = np.diff(begins, append=len(confidence))
    expected = np.add.reduceat(confidence, begins) / count
    generator = NumpyStream("calibration", "null").numpy()
    rows = max(1, _AT_A_TIME // len(confidence))
    errors = []
    for first in range(0, draws, rows):
        right = generator.random((min(rows, draws - first), len(confidence))) < confidence
        accuracy = np.add.reduceat(right, begins, axis=1, dtype=np.int64) / count
        errors.append(NORMS[norm](count / len(confidence), np.abs(accuracy - expected)))
    return np.concatenate(errors)


@SCORES.register(
    facts=ScoreFacts("Overconfidence", None, "fraction", scale="difference", bounds=(-1.0, 1.0)),
)
def overconfidence(predictions: Predictions) -> float:
    """Mean confidence minus accuracy on the test set: above 0 the model is too sure, below 0 not sure enough."""
    return float(predictions.test.confidence.mean() - predictions.test.correct.mean())
