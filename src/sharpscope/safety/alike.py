"""Scores of pairs of runs: how alike the functions are that two seeds have found, beyond what their errors account for.

Two networks of the same accuracy that err independently disagree often, and two that are nearly always right hardly
ever: ``prediction_disagreement`` follows the accuracy. What is here asks for more than that, or compares probabilities.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from sharpscope.safety.predictions import Predictions, check_same_samples
from sharpscope.safety.registry import SCORES, ScoreFacts

# Probabilities below this one count as this one where a divergence would else be infinite.
LEAST = 1e-12
_facts = partial(ScoreFacts, scale="difference", of_pairs=True, default=False)
_FORT = 'after Fort, Hu & Lakshminarayanan, "Deep Ensembles: A Loss Landscape Perspective", arXiv 1912.02757'


@SCORES.register(
    facts=_facts(
        "Error consistency",
        "higher",
        "kappa",
        bounds=(-1.0, 1.0),
        undefined="where both runs are right on all test samples, or wrong on all",
        by_classes=True,
        reference='Geirhos, Meding & Wichmann, "Beyond Accuracy: Quantifying Trial-by-Trial Behaviour of CNNs and '
        'Humans by Measuring Error Consistency", NeurIPS 2020',
    )
)
def error_consistency(first: Predictions, second: Predictions) -> float:
    r"""Agreement of two runs on which test samples they get right, beyond what their accuracies account for.

    .. math:: \kappa = \frac{o - e}{1 - e}, \quad e = a_1 a_2 + (1 - a_1)(1 - a_2)

    with the share :math:`o` of samples on which both are right or both are wrong, and the accuracies :math:`a`. It is 1
    if they err on the same samples, and about 0 if they err independently, whatever their accuracies.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "error_consistency")
    right1, right2 = first.test.correct, second.test.correct
    accuracy1, accuracy2 = right1.mean(), right2.mean()
    expected = accuracy1 * accuracy2 + (1 - accuracy1) * (1 - accuracy2)
    if accuracy1 == accuracy2 and accuracy1 in (0.0, 1.0):
        return float("nan")
    return float(((right1 == right2).mean() - expected) / (1 - expected))


@SCORES.register(
    facts=_facts(
        "Normalized disagreement",
        "lower",
        "fraction",
        undefined="where neither run errs",
        by_classes=True,
        reference=_FORT,
    )
)
def normalized_disagreement(first: Predictions, second: Predictions) -> float:
    """Disagreement of two runs, divided by the sum of their errors, which is the most that it can be.

    It is 1 where no test sample is got wrong by both alike.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "normalized_disagreement")
    errors = (~first.test.correct).mean() + (~second.test.correct).mean()
    return float((first.test.predicted != second.test.predicted).mean() / errors) if errors else float("nan")


@SCORES.register(
    facts=_facts(
        "Disagreement among common errors",
        "lower",
        "fraction",
        undefined="where no test sample is got wrong by both runs",
        by_classes=True,
        reference='after Milani Fard et al., "Launch and Iterate: Reducing Prediction Churn", NeurIPS 2016',
    )
)
def common_error_disagreement(first: Predictions, second: Predictions) -> float:
    """Share of the test samples that two runs both get wrong which they put into different classes.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "common_error_disagreement")
    wrong = ~first.test.correct & ~second.test.correct
    differ = first.test.predicted != second.test.predicted
    return float(differ[wrong].mean()) if wrong.any() else float("nan")


@SCORES.register(
    facts=_facts(
        "Jensen-Shannon divergence",
        "lower",
        "nats",
        bounds=(0.0, float(np.log(2))),
        reference='Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Trans. Inf. Theory 1991',
    )
)
def js_divergence(first: Predictions, second: Predictions) -> float:
    r"""Jensen-Shannon divergence of the probabilities of two runs, averaged over test samples.

    .. math:: \tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m), \quad m = \tfrac12 (p + q)

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "js_divergence")
    logs = first.test.log_probabilities, second.test.log_probabilities
    middle = np.logaddexp(*logs) - np.log(2.0)
    divergence = sum((np.exp(log) * (log - middle)).sum(axis=1) for log in logs) / 2
    return float(np.clip(divergence, 0.0, np.log(2)).mean())


@SCORES.register(
    facts=_facts(
        "Symmetric Kullback-Leibler divergence",
        "lower",
        "nats",
        bounds=(0.0, float("inf")),
        reference='Jeffreys, "An Invariant Form for the Prior Probability in Estimation Problems", Proceedings of the '
        "Royal Society A, 1946",
    )
)
def symmetric_kl(first: Predictions, second: Predictions) -> float:
    """Mean of the two Kullback-Leibler divergences of the probabilities of two runs, averaged over test samples.

    Probabilities below 1e-12 count as 1e-12: a few samples on which one run is all but certain would else decide it, or
    make it infinite. No sample counts more than 27.6 nats.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "symmetric_kl")
    logs = [np.maximum(p.test.log_probabilities, np.log(LEAST)) for p in (first, second)]
    return float(((np.exp(logs[0]) - np.exp(logs[1])) * (logs[0] - logs[1])).sum(axis=1).mean() / 2)


@SCORES.register(
    facts=_facts(
        "Activation distance",
        "lower",
        "probability",
        bounds=(0.0, 2.0),
        reference='Chundawat et al., "Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks Using an '
        'Incompetent Teacher", AAAI 2023, who take the Euclidean norm',
    )
)
def activation_distance(first: Predictions, second: Predictions, *, norm: Literal["l1", "l2"] = "l1") -> float:
    """Distance of the probabilities of two runs, averaged over test samples.

    Args:
        first: Of a run.
        second: Of another.
        norm: ``l1`` for the sum of differences, twice the total variation; ``l2`` for the Euclidean distance.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "activation_distance")
    difference = np.exp(first.test.log_probabilities) - np.exp(second.test.log_probabilities)
    return float(np.linalg.norm(difference, ord=int(norm[1:]), axis=1).mean())


@SCORES.register(
    facts=_facts(
        "Brier variance",
        "lower",
        "squared probability",
        bounds=(0.0, 1.0),
        reference='Wood et al., "A Unified Theory of Diversity in Ensemble Learning", JMLR 2023',
    )
)
def brier_variance(first: Predictions, second: Predictions) -> float:
    r"""Half the squared distance of the probabilities of two runs, averaged over test samples.

    Its mean over all pairs of n seeds is the unbiased estimate of how the probabilities vary over seeds, and
    :math:`(n-1)/n` of it is, exactly, by how much the Brier score of the mean of their probabilities is lower than
    theirs: what an ensemble gains.

    Raises:
        DataError: If the two runs were not tested on the same samples.
    """
    check_same_samples(first, second, "brier_variance")
    difference = np.exp(first.test.log_probabilities) - np.exp(second.test.log_probabilities)
    return float((difference**2).sum(axis=1).mean() / 2)
