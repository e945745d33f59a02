"""Scores of calibration: whether probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import ReliabilityBins, reliability_bins

NORMS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "l1": lambda weights, gaps: (weights * gaps).sum(),
    "l2": lambda weights, gaps: np.sqrt((weights * gaps**2).sum()),
    "max": lambda weights, gaps: gaps.max(),
}


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
def ece(
    predictions: Predictions,
    *,
    bins: Annotated[int, Field(ge=1)] = 15,
    norm: Literal["l1", "l2", "max"] = "l1",
) -> float:
    r"""Expected calibration error on the test set.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \, |\mathrm{acc}_b - \mathrm{conf}_b|

    Args:
        predictions: Of one run.
        bins: Number of equal-width bins of confidence, each open below and closed above.
        norm: ``l1`` for the mean gap, ``l2`` for the root of the mean squared gap, ``max`` for the largest
            gap.
    """
    return calibration_error(reliability_bins(predictions.test, bins), norm)


def calibration_error(bins: ReliabilityBins, norm: str) -> float:
    """Return the gap between confidence and accuracy over bins, by one of ``NORMS``."""
    filled = bins.count > 0
    gaps = np.abs(bins.accuracy - bins.confidence)[filled]
    weights = bins.count[filled] / bins.count.sum()
    return float(NORMS[norm](weights, gaps))


@SCORES.register(
    facts=ScoreFacts("Negative log-likelihood", "lower", "nats", scale="ratio", bounds=(0.0, float("inf")))
)
def nll(predictions: Predictions) -> float:
    """Mean negative log-probability of the true class on the test set."""
    return predictions.test.cross_entropy


@SCORES.register(
    facts=ScoreFacts(
        "Brier score",
        "lower",
        "squared probability",
        scale="difference",
        bounds=(0.0, 2.0),
        reference='Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950',
    )
)
def brier(predictions: Predictions) -> float:
    """Mean squared distance of the probabilities from the true class on the test set, summed over classes."""
    residuals = np.exp(predictions.test.log_probabilities)
    residuals[np.arange(len(residuals)), predictions.test.targets] -= 1.0
    return float((residuals**2).sum(axis=1).mean())
