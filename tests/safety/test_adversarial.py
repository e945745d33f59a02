"""Scores under attack and of other data, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sharpscope.condition import Case
from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split

from .conftest import split_of


def under_attack(right):
    """Predictions of which k of 20 are right at each distance."""
    clean = Split(np.eye(2)[[0] * 20] * 9, np.zeros(20, int))
    cases = {
        Case("pgd", distance, "attack"): Split(np.eye(2)[[0] * k + [1] * (20 - k)] * 9, np.zeros(20, int)).condensed()
        for distance, k in right.items()
    }
    return Predictions(clean, clean, cases)


def test_accuracy_under_attack_is_the_mean_over_distances():
    predictions = under_attack({1: 20, 2: 15, 4: 10, 8: 5, 64: 0})
    assert SCORES["adversarial_accuracy"](predictions) == pytest.approx(50 / 80)
    assert SCORES["adversarial_accuracy"](predictions, distances=(8,)) == pytest.approx(5 / 20)
    assert SCORES["masked_gradient_accuracy"](predictions) == 0.0


def test_masked_gradients_leave_no_accuracy_under_attack():
    predictions = under_attack({1: 20, 2: 20, 4: 20, 8: 20, 64: 1})
    assert np.isnan(SCORES["adversarial_accuracy"](predictions))
    assert SCORES["masked_gradient_accuracy"](predictions) == pytest.approx(0.05)
    with pytest.raises(DataError, match="'pgd' has the severities 1, 2, 4, 8, 64, got 3; choose among them"):
        SCORES["masked_gradient_accuracy"](predictions, distances=(3,))


def test_auroc_and_fpr_of_other_data_by_brute_force():
    own, others = split_of(200, 7, 1, noise=2), split_of(150, 7, 3, noise=4)
    others = Split(others.logits * 0.4, others.targets)
    predictions = Predictions(own, own, {Case("others", 1, "data"): others.condensed()})
    confidence = np.concatenate([own.confidence, others.confidence])
    expected = roc_auc_score([1] * 200 + [0] * 150, confidence)
    assert SCORES["ood_auroc"](predictions) == pytest.approx(expected, abs=1e-6)
    # The highest threshold that keeps 190 of 200.
    least = max(t for t in own.confidence if (own.confidence >= t).sum() >= 190)
    assert SCORES["ood_fpr95"](predictions) == pytest.approx((others.confidence >= least).mean())


def test_the_test_set_itself_is_no_other_data():
    own = split_of(200, 7, 1, noise=2)
    predictions = Predictions(own, own, {Case("same", 1, "data"): own.condensed()})
    assert SCORES["ood_auroc"](predictions) == pytest.approx(0.5)
    assert SCORES["ood_fpr95"](predictions) == pytest.approx(0.95)
    flat = Split(np.zeros((50, 3)), np.zeros(50, int))
    same = Predictions(flat, flat, {Case("same", 1, "data"): flat.condensed()})
    assert SCORES["ood_auroc"](same) == 0.5
    assert SCORES["ood_fpr95"](same) == 1.0
