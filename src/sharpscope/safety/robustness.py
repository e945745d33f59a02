"""Scores of robustness: what is left under corruption."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sharpscope.errors import DataError
from sharpscope.safety.calibration import calibration_error
from sharpscope.safety.predictions import Corrupted, Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import grouped


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
    return float((_corrupted(predictions, "corruption_accuracy").predicted == predictions.test.targets).mean())


@SCORES.register(
    facts=ScoreFacts(
        "Calibration error under corruption",
        "lower",
        "fraction",
        needs=("test", "corrupted"),
        reference=(
            "Ovadia et al., \"Can You Trust Your Model's Uncertainty? Evaluating Predictive Uncertainty Under Dataset "
            'Shift", NeurIPS 2019'
        ),
    )
)
def corruption_ece(
    predictions: Predictions,
    *,
    bins: Annotated[int, Field(ge=1)] = 15,
    norm: Literal["l1", "l2", "max"] = "l1",
) -> float:
    """Expected calibration error on corrupted test sets, averaged over all corruptions and severities.

    The confidences are stored in half precision, each to 0.00025.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.

    Raises:
        DataError: If the predictions hold no corrupted test sets.
    """
    corrupted = _corrupted(predictions, "corruption_ece")
    correct = corrupted.predicted == predictions.test.targets
    conditions = zip(corrupted.confidence.astype(np.float64), correct, strict=True)
    return float(np.mean([calibration_error(grouped(sure, right, bins), norm) for sure, right in conditions]))


def _corrupted(predictions: Predictions, score: str) -> Corrupted:
    if predictions.corrupted is None:
        raise DataError(
            f"{score} needs predictions on corrupted test sets, got none; "
            "leave the score out where the data are not images"
        )
    return predictions.corrupted
