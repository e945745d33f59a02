"""Scores of consistency: whether two runs have found the same function."""

from __future__ import annotations

from sharpscope.safety.predictions import Predictions, check_same_samples
from sharpscope.safety.registry import SCORES, ScoreFacts


@SCORES.register(
    facts=ScoreFacts(
        "Prediction disagreement",
        "lower",
        "fraction",
        scale="difference",
        of_pairs=True,
        by_classes=True,
        reference='Milani Fard et al., "Launch and Iterate: Reducing Prediction Churn", NeurIPS 2016',
    )
)
def prediction_disagreement(first: Predictions, second: Predictions) -> float:
    """Share of test samples that two runs put into different classes.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "prediction_disagreement")
    return float((first.test.predicted != second.test.predicted).mean())
