r"""The Brier score in three parts, without bins.

Isotonic regression of outcomes on forecasts gives the best calibrated forecasts that keep their order. With S the mean
squared error of forecasts,

.. math:: S(p) = \underbrace{S(p) - S(\hat p)}_{\text{miscalibration}}
    - \underbrace{(S(\bar y) - S(\hat p))}_{\text{discrimination}} + \underbrace{S(\bar y)}_{\text{uncertainty}}

where :math:`\hat p` are the recalibrated forecasts and :math:`\bar y` is the base rate. None of the three is negative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.shared import shared
from sharpscope.safety.splits import Split

_CORP = 'Dimitriadis, Gneiting & Jordan, "Stable Reliability Diagrams for Probabilistic Classifiers", PNAS 2021'
_UNIT = "squared probability"


class Parts(NamedTuple):
    """The parts of a mean squared error of forecasts.

    Attributes:
        miscalibration: What recalibration would gain, MCB.
        discrimination: What recalibrated forecasts gain over the base rate, DSC.
        uncertainty: The error of the base rate, UNC.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float


def decomposed(forecast: np.ndarray, happened: np.ndarray) -> Parts:
    """Return the parts of the mean squared error of forecasts of one event.

    Args:
        forecast: Probabilities, shape ``[N]``.
        happened: Whether the event happened, shape ``[N]``.
    """
    outcome = happened.astype(np.float64)
    _, which, count = np.unique(forecast, return_inverse=True, return_counts=True)
    # Equal forecasts can be recalibrated to one number only.
    mean = np.bincount(which, outcome) / count
    recalibrated = isotonic_regression(mean, weights=count).x[which]
    error, best, base = (float(((p - outcome) ** 2).mean()) for p in (forecast, recalibrated, outcome.mean()))
    # The forecasts themselves and the base rate keep the order, so that only rounding makes a difference negative.
    return Parts(max(error - best, 0.0), max(base - best, 0.0), base)


@shared
def of_top_label(split: Split) -> Parts:
    """Return the parts of the squared error of confidence, as a forecast that the prediction is right."""
    return decomposed(split.confidence, split.correct)


@shared
def of_classes(split: Split) -> Parts:
    """Return the parts of the Brier score: of the forecasts of each class against the rest, added up."""
    probabilities = np.exp(split.log_probabilities)
    parts = [decomposed(column, split.targets == label) for label, column in enumerate(probabilities.T)]
    return Parts(*np.sum(parts, axis=0).tolist())


@SCORES.register(
    facts=ScoreFacts("Brier miscalibration", "lower", _UNIT, scale="difference", bounds=(0.0, 2.0), reference=_CORP)
)
def brier_miscalibration(predictions: Predictions) -> float:
    """Part of the Brier score that recalibration could take away: MCB of each class against the rest, summed.

    ``brier`` = ``brier_miscalibration`` - ``brier_discrimination`` + ``brier_uncertainty``, exactly. Recalibration is
    isotonic regression on the test set itself, so that a calibrated model has a little of it too.
    """
    return of_classes(predictions.test).miscalibration


@SCORES.register(
    facts=ScoreFacts(
        "Brier discrimination", "higher", _UNIT, scale="difference", bounds=(0.0, 1.0), reference=_CORP, default=False
    )
)
def brier_discrimination(predictions: Predictions) -> float:
    """Part of the Brier score that is gained over the shares of classes: DSC of each class against the rest, summed."""
    return of_classes(predictions.test).discrimination


@SCORES.register(
    facts=ScoreFacts(
        "Brier uncertainty",
        None,
        _UNIT,
        scale="difference",
        bounds=(0.0, 1.0),
        reference=_CORP,
        default=False,
        by_classes=True,
    )
)
def brier_uncertainty(predictions: Predictions) -> float:
    """Brier score of the shares of classes in the test set: UNC, which no model changes."""
    return of_classes(predictions.test).uncertainty


@SCORES.register(
    facts=ScoreFacts("Top-label miscalibration", "lower", _UNIT, scale="difference", reference=_CORP, default=False),
)
def top_label_miscalibration(predictions: Predictions) -> float:
    """Part of the squared error of confidence that recalibration could take away: MCB of predictions being right."""
    return of_top_label(predictions.test).miscalibration


@SCORES.register(
    facts=ScoreFacts("Top-label discrimination", "higher", _UNIT, scale="difference", reference=_CORP, default=False),
)
def top_label_discrimination(predictions: Predictions) -> float:
    """Part of the squared error of confidence that is gained over the accuracy: DSC of predictions being right."""
    return of_top_label(predictions.test).discrimination


@SCORES.register(
    facts=ScoreFacts(
        "Top-label uncertainty",
        None,
        _UNIT,
        scale="difference",
        bounds=(0.0, 0.25),
        reference=_CORP,
        default=False,
        by_classes=True,
    ),
)
def top_label_uncertainty(predictions: Predictions) -> float:
    """Squared error of the accuracy as everybody's confidence: UNC of predictions being right."""
    return of_top_label(predictions.test).uncertainty
