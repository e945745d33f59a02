"""Scores of pairs by hand arithmetic, against scipy, and under independence."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split

PAIRS = [name for name, entry in SCORES.items() if entry.facts.of_pairs and "classification" in entry.facts.tasks]
TARGETS = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2])


def classifying(classes, targets=TARGETS, sharpness=5.0):
    """A run that says these classes."""
    split = Split(sharpness * np.eye(3)[np.asarray(classes)] - 1.0, np.asarray(targets))
    return Predictions(split, split)


# Right on 6, and on 5 of the first five and one other: both right on 0..3, both wrong on 7, 8, 9.
FIRST = classifying([0, 0, 0, 0, 0, 0, 1, 1, 2, 0])
SECOND = classifying([0, 0, 0, 0, 1, 2, 0, 2, 2, 0])


def test_by_hand():
    a, b = 6 / 10, 5 / 10
    observed, expected = 7 / 10, a * b + (1 - a) * (1 - b)
    assert SCORES["error_consistency"](FIRST, SECOND) == pytest.approx((observed - expected) / (1 - expected))
    # They differ on 4, 5, 6 and 7; they err on 4 and on 5.
    assert SCORES["normalized_disagreement"](FIRST, SECOND) == pytest.approx(0.4 / 0.9)
    assert SCORES["common_error_disagreement"](FIRST, SECOND) == pytest.approx(1 / 3)


def test_a_run_beside_itself():
    assert SCORES["error_consistency"](FIRST, FIRST) == 1.0
    for name in ("normalized_disagreement", "common_error_disagreement", "symmetric_kl", "activation_distance"):
        assert SCORES[name](FIRST, FIRST) == 0.0
    assert SCORES["js_divergence"](FIRST, FIRST) == pytest.approx(0.0, abs=1e-15)


def test_without_errors_there_is_nothing_to_agree_on():
    perfect = classifying(TARGETS)
    for name in ("error_consistency", "normalized_disagreement", "common_error_disagreement"):
        assert np.isnan(SCORES[name](perfect, perfect))
    # One that is always right, and one that is not: no more than their accuracies account for.
    assert SCORES["error_consistency"](perfect, FIRST) == 0.0
    assert SCORES["normalized_disagreement"](perfect, FIRST) == pytest.approx(1.0)


@pytest.mark.parametrize("accuracies", [(0.6, 0.6), (0.9, 0.7), (0.98, 0.98)])
def test_runs_that_err_independently_have_no_error_consistency(accuracies):
    rng = np.random.default_rng(0)
    n, classes = 40_000, 5
    targets = rng.integers(0, classes, n)
    runs = []
    for accuracy in accuracies:
        wrong = (targets + rng.integers(1, classes, n)) % classes
        said = np.where(rng.uniform(size=n) < accuracy, targets, wrong)
        split = Split(np.eye(classes)[said] * 4, targets)
        runs.append(Predictions(split, split))
    # Under independence the standard error of kappa is about 1 / sqrt(n) = 0.005.
    assert SCORES["error_consistency"](*runs) == pytest.approx(0.0, abs=0.02)
    # Of independent errors those in common are put into other classes in 3 of 4 cases.
    both = (1 - accuracies[0]) * (1 - accuracies[1]) * n
    assert SCORES["common_error_disagreement"](*runs) == pytest.approx(0.75, abs=5 * (0.19 / both) ** 0.5)


@pytest.fixture
def random_pair():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 6, 300)
    splits = [Split(rng.normal(size=(300, 6)) * scale, targets) for scale in (3.0, 1.0)]
    given = [dict(zip(("features", "initial_features"), rng.normal(size=(2, 300, 7)), strict=True)) for _ in splits]
    return [Predictions(split, split, **of) for split, of in zip(splits, given, strict=True)]


def test_divergences_are_those_of_scipy(random_pair):
    p, q = (np.exp(run.test.log_probabilities) for run in random_pair)
    assert SCORES["js_divergence"](*random_pair) == pytest.approx((jensenshannon(p, q, axis=1) ** 2).mean())
    expected = (entropy(p, q, axis=1) + entropy(q, p, axis=1)).mean() / 2
    assert SCORES["symmetric_kl"](*random_pair) == pytest.approx(expected)
    distance = SCORES["activation_distance"]
    assert distance(*random_pair) == pytest.approx(np.abs(p - q).sum(axis=1).mean())
    assert distance(*random_pair, norm="l2") == pytest.approx(np.sqrt(((p - q) ** 2).sum(axis=1)).mean())


def test_the_divergence_of_runs_that_are_certain_is_finite():
    opposite = [classifying([k] * 10, sharpness=1e4) for k in (0, 1)]
    assert SCORES["symmetric_kl"](*opposite) == pytest.approx(np.log(1e12), rel=1e-9)
    assert SCORES["js_divergence"](*opposite) == pytest.approx(np.log(2))
    assert SCORES["activation_distance"](*opposite) == pytest.approx(2.0)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_symmetric_and_of_one_test_set(name, random_pair):
    first, second = random_pair
    assert SCORES[name](first, second) == pytest.approx(SCORES[name](second, first), rel=1e-12)
    with pytest.raises(DataError, match=f"{name} compares two runs on one test set, but their test targets differ"):
        SCORES[name](FIRST, classifying([0] * 10, targets=[0] * 10))


def test_the_mean_brier_variance_of_pairs_is_what_an_ensemble_gains():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 4, 200)
    splits = [Split(2 * rng.normal(size=(200, 4)), targets) for _ in range(5)]
    runs = [Predictions(split, split) for split in splits]
    pairs = [SCORES["brier_variance"](a, b) for a, b in itertools.combinations(runs, 2)]
    together = Split.of_probabilities(np.mean([np.exp(split.log_probabilities) for split in splits], axis=0), targets)
    gain = np.mean([SCORES["brier"](run) for run in runs]) - SCORES["brier"](Predictions(together, together))
    assert np.mean(pairs) * 4 / 5 == pytest.approx(gain)
    # One sample of two classes: (0.8, 0.2) and (0.4, 0.6).
    few = (Split.of_probabilities(np.array([[a, 1 - a]]), np.array([0])) for a in (0.8, 0.4))
    assert SCORES["brier_variance"](*(Predictions(split, split) for split in few)) == pytest.approx(0.16)


def test_the_brier_variance_does_not_depend_on_the_number_of_seeds():
    rng = np.random.default_rng(0)
    splits = [Split.of_probabilities(rng.dirichlet(np.ones(3), 4000), np.zeros(4000, int)) for _ in range(12)]
    pairs = itertools.combinations([Predictions(split, split) for split in splits], 2)
    # The variance of Dirichlet(1, 1, 1) is 1/18 for each class.
    assert np.mean([SCORES["brier_variance"](a, b) for a, b in pairs]) == pytest.approx(1 / 6, rel=0.02)
