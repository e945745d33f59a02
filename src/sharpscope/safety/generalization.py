"""Scores of generalization."""

from __future__ import annotations

from sharpscope.safety import basic
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts


@SCORES.register(
    facts=ScoreFacts(
        "Test accuracy",
        "higher",
        "fraction",
        scale="difference",
        by_classes=True,
        by_sample=lambda predictions: predictions.test.correct,
    )
)
def accuracy(predictions: Predictions) -> float:
    """Share of test samples that are classified right."""
    return basic.test_accuracy(predictions)


@SCORES.register(
    facts=ScoreFacts(
        "Generalization gap",
        "lower",
        "fraction",
        scale="difference",
        bounds=(-1.0, 1.0),
        needs=("train", "test"),
        by_classes=True,
    )
)
def generalization_gap(predictions: Predictions) -> float:
    """Training accuracy minus test accuracy, both on clean data.

    Clean for every regime: augmented training images are harder, and a gap measured on them is smaller by
    construction.
    """
    return basic.train_accuracy(predictions) - basic.test_accuracy(predictions)
