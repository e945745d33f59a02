"""Proper scores: least, on average, of the model that tells the true probabilities."""

from __future__ import annotations

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts


@SCORES.register(
    facts=ScoreFacts(
        "Negative log-likelihood",
        "lower",
        "nats",
        scale="ratio",
        bounds=(0.0, float("inf")),
        by_sample=lambda predictions: predictions.test.losses,
    )
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
        by_sample=lambda predictions: predictions.test.briers,
        reference='Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950',
    )
)
def brier(predictions: Predictions) -> float:
    """Mean squared distance of the probabilities from the true class on the test set, summed over classes."""
    return float(predictions.test.briers.mean())
