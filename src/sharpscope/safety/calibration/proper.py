"""Proper scores: least, on average, of the model that tells the true probabilities."""

from __future__ import annotations

import numpy as np

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts


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
