"""Scores of robustness: what is left under corruption."""

from __future__ import annotations

from sharpscope.errors import DataError
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts


@SCORES.register(
    facts=ScoreFacts(
        "Corruption accuracy",
        "higher",
        "fraction",
        needs=("test", "corrupted"),
        reference=(
            'Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and '
            'Perturbations", ICLR 2019'
        ),
    )
)
def corruption_accuracy(predictions: Predictions) -> float:
    """Accuracy on corrupted test sets, averaged over all corruptions and severities.

    Raises:
        DataError: If the predictions hold no corrupted test sets.
    """
    if predictions.corrupted is None:
        raise DataError(
            "corruption_accuracy needs predictions on corrupted test sets, got none; "
            "leave the score out where the data are not images"
        )
    return float((predictions.corrupted.predicted == predictions.test.targets).mean())
