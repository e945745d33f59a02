"""Scores of selection: whether a model knows which of its predictions are wrong."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts

_GEIFMAN = 'Geifman, Uziel & El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019'


@SCORES.register(
    version=2,  # 1 tied predictions whose confidence rounds to 1
    facts=ScoreFacts("Area under the risk-coverage curve", "lower", "fraction", scale="difference", reference=_GEIFMAN),
)
def aurc(predictions: Predictions) -> float:
    r"""Mean error of the most confident predictions, over all shares of the test set that may be kept.

    .. math:: \mathrm{AURC} = \frac1N \sum_{n=1}^N \frac{\text{wrong ones among the } n \text{ most confident}}{n}

    Where several predictions have one confidence, it is the mean over their orders.
    """
    return float(selective_errors(predictions.test.sureness, predictions.test.correct).mean())


@SCORES.register(
    version=2,
    facts=ScoreFacts(
        "Excess area under the risk-coverage curve",
        "lower",
        "fraction",
        scale="difference",
        reference=_GEIFMAN,
        default=False,
    ),
)
def e_aurc(predictions: Predictions) -> float:
    """Area under the risk-coverage curve beyond that of a model that is least sure of just its wrong predictions.

    The latter is exact for the number of test samples; Geifman et al. take its limit for many.
    """
    correct = predictions.test.correct
    kept = np.arange(1, len(correct) + 1)
    best = np.maximum(kept - np.count_nonzero(correct), 0) / kept
    return max(float((selective_errors(predictions.test.sureness, correct) - best).mean()), 0.0)


def selective_errors(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return the expected error of the n most confident predictions for each n, shape ``[N]``.

    Args:
        confidence: Or anything in its order, ``[N]``; for equal ones the mean over their orders is taken.
        correct: Whether each prediction is right, ``[N]``.
    """
    _, which, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    # In the mean over the orders of equal confidences, each of them has their share of wrong ones.
    wrong = np.repeat(np.bincount(which, ~correct) / count, count)
    return np.cumsum(wrong) / np.arange(1, len(wrong) + 1)


@SCORES.register(
    version=2,
    facts=ScoreFacts(
        "AUROC of failures",
        "higher",
        "fraction",
        scale="difference",
        reference='Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in '
        'Neural Networks", ICLR 2017',
        undefined="where all predictions are right, or all are wrong",
    ),
)
def failure_auroc(predictions: Predictions) -> float:
    """Probability that a right prediction has more confidence than a wrong one on the test set, ties counted half."""
    correct = predictions.test.correct
    right = np.count_nonzero(correct)
    pairs = right * (len(correct) - right)
    if not pairs:
        return float("nan")
    ranks = rankdata(predictions.test.sureness)
    return float((ranks[correct].sum() - right * (right + 1) / 2) / pairs)
