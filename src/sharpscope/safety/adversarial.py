"""Scores of models under attack, and of how sure they are of data that are none of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import rankdata

from sharpscope.condition import Case, ConditionFacts, named, of_kind, other_data_name
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.severities import accuracy_at, at_severities

# In units of 1/255: where a model is wrong whose gradients lead somewhere, and the accuracy that it may keep there.
FAR, LEFT = 64, 0.05
# Of the test set, so many are to be taken for its own.
KEPT = 0.95

_HENDRYCKS = (
    'Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks", '
    "ICLR 2017"
)
OtherData = str | dict[str, Any]


def other_data(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
    """Return the other data that a score is the mean over, by its option ``data``.

    Args:
        options: Of the score.
        offered: The conditions of a dataset.

    Raises:
        DataError: If there are none.
    """
    if options["data"] == "all":
        return of_kind("data")({}, {name: one for name, one in offered.items() if ":" not in name})
    name = other_data_name(options["data"])
    if any(isinstance(one, ConditionFacts) for one in offered.values()):
        return [name]  # a dataset of which nobody keeps a list
    return named(name)(options, offered)


_of_other_data = partial(
    ScoreFacts, unit="fraction", scale="difference", conditions=other_data, default=False, reference=_HENDRYCKS
)


@SCORES.register(
    facts=ScoreFacts(
        "Adversarial accuracy",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=at_severities("pgd", "distances"),
        default=False,
        by_classes=True,
        undefined="where an accuracy of 0.05 or more is left at a distance of 64/255: the gradients of such a model "
        "lead nowhere, so that what it gets right at smaller distances says nothing",
        reference='Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018',
    )
)
def adversarial_accuracy(predictions: Predictions, *, distances: tuple[int, ...] = (1, 2, 4, 8)) -> float:
    """Accuracy on test images that projected gradient descent has searched for, averaged over distances.

    Args:
        predictions: Of one run.
        distances: How far each value of an image may be moved, in units of 1/255: among 1, 2, 4, 8 and 64.

    Raises:
        DataError: If the predictions hold none at a distance.
    """
    masked = accuracy_at(predictions, "pgd", (FAR,)) >= LEFT
    return float("nan") if masked else accuracy_at(predictions, "pgd", distances)


@SCORES.register(
    facts=ScoreFacts(
        "Accuracy far under attack",
        "lower",
        "fraction",
        scale="difference",
        needs=(),
        conditions=at_severities("pgd", "distances"),
        default=False,
        by_classes=True,
        reference='Athalye, Carlini & Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018',
    )
)
def masked_gradient_accuracy(predictions: Predictions, *, distances: tuple[int, ...] = (FAR,)) -> float:
    """Accuracy under attack at a distance of 64/255: what is left shows that gradients are masked.

    Args:
        predictions: Of one run.
        distances: As of ``adversarial_accuracy``.

    Raises:
        DataError: If the predictions hold none at the distance.
    """
    return accuracy_at(predictions, "pgd", distances)


@SCORES.register(facts=_of_other_data("AUROC of other data", "higher"))
def ood_auroc(predictions: Predictions, *, data: OtherData = "all") -> float:
    """Probability that a model is surer of a test sample than of a sample of other data, ties counted half.

    Of predictions that are no better than chance it is 0.5.

    Args:
        predictions: Of one run.
        data: ``all`` for the mean over the registered conditions of data; or the name of a dataset, or a mapping of its
            name and options, whose test images are brought to the size and the channels of those of the study.

    Raises:
        DataError: If there are predictions on no such data.
    """
    own = predictions.test.condensed().sureness
    return float(np.mean([_auroc(own, split.sureness) for split in predictions.under(other_data, data=data)]))


@SCORES.register(facts=_of_other_data("FPR95 of other data", "lower"))
def ood_fpr95(predictions: Predictions, *, data: OtherData = "all") -> float:
    """Share of other data of which a model is at least as sure as of all but 5% of the test set.

    Args:
        predictions: Of one run.
        data: As of ``ood_auroc``.

    Raises:
        DataError: If there are predictions on no such data.
    """
    own = np.sort(predictions.test.condensed().sureness)[::-1]
    least = own[math.ceil(KEPT * len(own)) - 1]
    return float(np.mean([(split.sureness >= least).mean() for split in predictions.under(other_data, data=data)]))


def _auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the probability that a positive is above a negative, ties counted half: the Mann-Whitney statistic."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))
