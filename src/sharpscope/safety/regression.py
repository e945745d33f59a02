"""Scores of models that predict numbers."""

from __future__ import annotations

import numpy as np

from sharpscope.safety.predictions import Predictions, check_same_samples
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.splits import RegressionSplit
from sharpscope.task import REGRESSION

_TASKS = (REGRESSION.name,)


@SCORES.register(
    facts=ScoreFacts("Test R2", "higher", "fraction", scale="difference", bounds=(float("-inf"), 1.0), tasks=_TASKS)
)
def r2(predictions: Predictions[RegressionSplit]) -> float:
    """Share of the variance of the test targets that is explained; below 0 where their mean predicts them better.

    Of several targets the errors and the variances are added up. NaN where the targets do not vary.
    """
    return predictions.test.r2


@SCORES.register(
    facts=ScoreFacts(
        "R2 gap",
        "lower",
        "fraction",
        scale="difference",
        bounds=(float("-inf"), float("inf")),
        tasks=_TASKS,
        needs=("train", "test"),
    )
)
def r2_gap(predictions: Predictions[RegressionSplit]) -> float:
    """Train R2 minus test R2, both on clean data."""
    return predictions.train.r2 - predictions.test.r2


@SCORES.register(
    facts=ScoreFacts("Mean absolute error", "lower", "", scale="ratio", bounds=(0.0, float("inf")), tasks=_TASKS)
)
def mae(predictions: Predictions[RegressionSplit]) -> float:
    """Mean distance of predictions from targets on the test set, in units of the targets, over all outputs."""
    return float(np.abs(predictions.test.errors).mean())


@SCORES.register(
    facts=ScoreFacts(
        "Prediction distance", "lower", "", scale="difference", of_pairs=True, bounds=(0.0, float("inf")), tasks=_TASKS
    )
)
def prediction_distance(first: Predictions[RegressionSplit], second: Predictions[RegressionSplit]) -> float:
    """Root mean squared difference between the predictions of two runs on the test set, in units of the targets.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "prediction_distance")
    return float(np.sqrt(((first.test.errors - second.test.errors) ** 2).mean()))
