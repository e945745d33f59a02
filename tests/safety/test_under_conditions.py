"""Scores of predictions under corruptions and of altered weights, by arithmetic in the assert."""

from itertools import permutations

import numpy as np
import pytest

from sharpscope.condition import Case, ConditionFacts
from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split
from sharpscope.safety.calibration.selection import selective_errors

from .conftest import CASES, split_of


def of_families(survived):
    """Predictions under corruptions by name and family, of which k samples of 20 are classified right."""
    clean = Split(np.eye(2)[[0] * 20] * 9, np.zeros(20, int))
    cases = {
        Case(name, 1, family=family): Split(np.eye(2)[[0] * k + [1] * (20 - k)] * 9, np.zeros(20, int)).condensed()
        for (name, family), k in survived.items()
    }
    return Predictions(clean, clean, cases)


FAMILIES = {("a", "noise"): 20, ("b", "noise"): 10, ("c", "blur"): 5, ("d", "weather"): 1}


def test_corruption_accuracy_of_a_family_and_its_range_by_hand():
    predictions = of_families(FAMILIES)
    accuracy = SCORES["corruption_accuracy"]
    assert accuracy(predictions, corruptions="noise") == pytest.approx(0.75)
    assert accuracy(predictions, corruptions="blur") == pytest.approx(0.25)
    # Without noise (5 + 1) / 40, without blur (20 + 10 + 1) / 60, without weather (20 + 10 + 5) / 60.
    assert SCORES["corruption_accuracy_range"](predictions) == pytest.approx(35 / 60 - 6 / 40)
    with pytest.raises(DataError, match="no corruption of the family 'digital' among a, b, c, d"):
        accuracy(predictions, corruptions="digital")
    with pytest.raises(DataError, match="a family is left out of several, and there is one: 'noise'"):
        SCORES["corruption_accuracy_range"](of_families({("a", "noise"): 20, ("b", "noise"): 10}))


def test_scores_under_corruption_are_means_over_severities_of_means_over_corruptions(predictions):
    # Of two severities each case counts half of what that of a single one does.
    weights = [1 / 4, 1 / 4, 1 / 2]
    splits = [split_of(400, 7, 1, noise=2 + k) for k, case in enumerate(CASES) if case.kind == "inputs"]

    def expected(each):
        return pytest.approx(np.average([each(split) for split in splits], weights=weights, axis=0), rel=1e-6)

    def squares(split):
        return ((np.exp(split.log_probabilities) - np.eye(7)[split.targets]) ** 2).sum(axis=1)

    def area(split):
        order = np.argsort(-split.confidence)
        return np.mean([np.mean(~split.correct[order[:n]]) for n in range(1, 401)])

    by_score = {
        "corruption_accuracy": lambda split: split.correct.mean(),
        "corruption_ece": lambda split: SCORES["ece"](Predictions(split, split)),
        "corruption_nll": lambda split: split.cross_entropy,
        "corruption_brier": lambda split: squares(split).mean(),
        "corruption_aurc": area,
    }
    for name, each in by_score.items():
        assert SCORES[name](predictions) == expected(each)
    by_sample = {
        "corruption_accuracy": lambda split: split.correct,
        "corruption_nll": lambda split: split.losses,
        "corruption_brier": squares,
    }
    for name, each in by_sample.items():
        assert SCORES[name].facts.by_sample(predictions) == expected(each)


def test_selective_errors_by_hand_and_over_all_orders_of_ties():
    # Kept 1, 2, 3: none of 1, 1 of 2, 1 of 3.
    assert selective_errors(np.array([0.9, 0.5, 0.8]), np.array([True, True, False])).mean() == pytest.approx(
        (1 / 2 + 1 / 3) / 3
    )
    correct = np.array([True, False, True, False])
    orders = [np.mean([np.mean(~correct[list(order[:n])]) for n in range(1, 5)]) for order in permutations(range(4))]
    assert selective_errors(np.full(4, 0.7), correct).mean() == pytest.approx(np.mean(orders))


def test_accuracy_of_altered_weights_is_the_mean_over_those_that_are_chosen():
    clean = Split(np.eye(2)[[0] * 20] * 9, np.zeros(20, int))
    right = {"quantized": {8: 20, 6: 15, 4: 10, 3: 5}, "pruned": {50: 18, 80: 9, 90: 0}}
    cases = {
        Case(name, severity, "weights"): Split(np.eye(2)[[0] * k + [1] * (20 - k)] * 9, np.zeros(20, int)).condensed()
        for name, found in right.items()
        for severity, k in found.items()
    }
    predictions = Predictions(clean, clean, cases)
    assert SCORES["quantized_accuracy"](predictions) == pytest.approx(50 / 80)
    assert SCORES["quantized_accuracy"](predictions, bits=(4, 3)) == pytest.approx(15 / 40)
    assert SCORES["pruned_accuracy"](predictions) == pytest.approx(27 / 60)
    assert SCORES["pruned_accuracy"](predictions, percents=(80,)) == pytest.approx(9 / 20)
    with pytest.raises(DataError, match="'quantized' has the severities 8, 6, 4, 3, got 5; choose among them"):
        SCORES["quantized_accuracy"](predictions, bits=(8, 5))
    facts = SCORES["pruned_accuracy"].facts
    offered = {"pruned": ConditionFacts("weights", "Pruned", severities=(50, 80, 90))}
    with pytest.raises(DataError, match="'pruned' has the severities 50, 80, 90, got none of them"):
        facts.conditions({"percents": ()}, offered)
