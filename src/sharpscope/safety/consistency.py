"""Scores of consistency: whether two runs have found the same function."""

from __future__ import annotations

import numpy as np

from sharpscope.errors import DataError
from sharpscope.safety.predictions import Predictions
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
    if not np.array_equal(first.test.targets, second.test.targets):
        raise DataError(
            "prediction_disagreement compares two runs on one test set, but their test targets differ; "
            "compare runs of the same data only"
        )
    return float((first.test.predicted != second.test.predicted).mean())
