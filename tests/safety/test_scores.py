"""Scores against torchmetrics, scikit-learn, and arithmetic in the assert."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from sharpscope.benchmark import BENCHMARK, EXTRA, FAMILIES
from sharpscope.condition import Case
from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split, basic
from sharpscope.safety.reliability import reliability_bins


def split_with(confidences, correct):
    """A split of two classes with these confidences (in [0.5, 1]) in the predicted class 0."""
    confidences = np.asarray(confidences, dtype=np.float64)
    with np.errstate(divide="ignore"):
        margin = np.minimum(np.log(confidences) - np.log1p(-confidences), 1000.0)
    logits = np.stack([margin, np.zeros_like(margin)], axis=1)
    return Split(logits, np.where(correct, 0, 1))


def run_of(split):
    return Predictions(split, split)


def probabilities(split):
    return np.exp(split.log_probabilities)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_that_of_torchmetrics(predictions, norm, bins):
    split = predictions.test
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities(split)), torch.from_numpy(split.targets), 7, bins, norm
    )
    assert SCORES["ece"](predictions, bins=bins, norm=norm) == pytest.approx(float(expected), abs=1e-6)


def test_ece_by_hand():
    split = split_with([0.6, 0.7, 0.7, 0.9], [True, False, True, True])
    predictions = run_of(split)
    # Bins (0.5, 0.75] and (0.75, 1]: gaps 2/3 - 2/3 and 1 - 0.9.
    assert SCORES["ece"](predictions, bins=4) == pytest.approx(3 / 4 * 0 + 1 / 4 * 0.1)
    # Bins (0.5, 0.6], (0.6, 0.7] and (0.8, 0.9]: gaps 1 - 0.6, 1/2 - 0.7 and 1 - 0.9.
    assert SCORES["ece"](predictions, bins=10) == pytest.approx(1 / 4 * 0.4 + 2 / 4 * 0.2 + 1 / 4 * 0.1)
    assert SCORES["ece"](predictions, bins=10, norm="max") == pytest.approx(0.4)
    squared = 1 / 4 * 0.4**2 + 2 / 4 * 0.2**2 + 1 / 4 * 0.1**2
    assert SCORES["ece"](predictions, bins=10, norm="l2") == pytest.approx(np.sqrt(squared))


def test_a_confidence_of_exactly_one_counts_in_the_last_bin():
    split = split_with([1.0, 1.0, 1.0, 0.99], [True, True, False, True])
    assert split.confidence[:3].tolist() == [1.0, 1.0, 1.0]
    bins = reliability_bins(split)
    assert bins.count.tolist() == [0] * 14 + [4]
    assert bins.accuracy[-1] == 3 / 4
    assert SCORES["ece"](run_of(split)) == pytest.approx(abs(3 / 4 - 3.99 / 4))


def test_nll_brier_and_accuracy_are_those_of_scikit_learn(predictions):
    for split, name in ((predictions.train, "train"), (predictions.test, "test")):
        loss, accuracy = (getattr(basic, f"{name}_{kind}")(predictions) for kind in ("loss", "accuracy"))
        assert loss == pytest.approx(log_loss(split.targets, probabilities(split), labels=range(7)), rel=1e-12)
        assert accuracy == accuracy_score(split.targets, split.predicted)
    test = predictions.test
    expected = brier_score_loss(test.targets, probabilities(test), labels=range(7), scale_by_half=False)
    assert SCORES["brier"](predictions) == pytest.approx(expected, rel=1e-12)
    assert SCORES["nll"](predictions) == basic.test_loss(predictions)
    assert SCORES["accuracy"](predictions) == basic.test_accuracy(predictions)


def test_the_worst_and_the_best_brier_score():
    assert SCORES["brier"](run_of(split_with([1.0], [True]))) == 0.0
    assert SCORES["brier"](run_of(split_with([1.0], [False]))) == 2.0


def test_a_certain_mistake_has_a_finite_loss():
    # The margin of the logits is 1,000, so the true class has probability e^-1000, which is 0 in float64.
    assert SCORES["nll"](run_of(split_with([1.0], [False]))) == pytest.approx(1000.0)


def test_generalization_gap_by_hand():
    train = split_with([0.9] * 10, [True] * 9 + [False])
    test = split_with([0.9] * 4, [True] * 3 + [False])
    assert SCORES["generalization_gap"](Predictions(train, test)) == pytest.approx(0.9 - 0.75)
    assert SCORES["generalization_gap"](Predictions(test, train)) == pytest.approx(0.75 - 0.9)


def test_corruption_accuracy_is_the_mean_over_corruptions_of_inputs(predictions):
    inputs = {case: split for case, split in predictions.cases.items() if case.kind == "inputs"}
    assert len(inputs) == len(predictions.cases) - 1
    of_case = {str(case): accuracy_score(predictions.test.targets, split.predicted) for case, split in inputs.items()}
    expected = ((of_case["blur-1"] + of_case["blur-2"]) / 2 + of_case["noise-1"]) / 2
    assert SCORES["corruption_accuracy"](predictions) == pytest.approx(expected)


def test_calibration_under_corruption_is_the_mean_over_cases(predictions):
    rng = np.random.default_rng(3)
    targets = predictions.test.targets
    splits = [Split(scale * rng.normal(size=(len(targets), 7)), targets) for scale in (1, 3, 9)]
    cases = {Case("fog", severity): split.condensed() for severity, split in enumerate(splits, start=1)}
    of_all = Predictions(predictions.train, predictions.test, cases)
    for options in ({}, {"bins": 10, "norm": "l2"}):
        alone = [SCORES["ece"](run_of(split), **options) for split in splits]
        assert SCORES["corruption_ece"](of_all, **options) == pytest.approx(np.mean(alone), abs=1e-6)


def of_suite(names):
    """Return predictions under corruptions of which the k-th is survived by k samples of 20."""
    targets = np.zeros(20, int)
    cases = {}
    for k, name in enumerate(names):
        sure = np.where(np.arange(20) < k, 1000.0, -1000.0)
        split = Split(np.stack([sure, -sure], axis=1), targets).condensed()
        cases |= {Case(name, severity): split for severity in range(1, 6)}
    split = Split(np.zeros((20, 2)), targets)
    return Predictions(split, split, cases)


CIFAR_C = [f"CIFAR-10-C/{name}" for name in sorted((*BENCHMARK, *EXTRA))]


def test_the_mean_over_a_suite_is_over_all_of_it_or_over_its_benchmark():
    assert (len(BENCHMARK), len(EXTRA), len(CIFAR_C)) == (15, 4, 19)
    assert set(FAMILIES) == {*BENCHMARK, *EXTRA}
    predictions = of_suite(CIFAR_C)
    survived = {name: k / 20 for k, name in enumerate(CIFAR_C)}
    benchmark = [survived[f"CIFAR-10-C/{name}"] for name in BENCHMARK]
    accuracy, error = SCORES["corruption_accuracy"], SCORES["corruption_ece"]
    assert accuracy(predictions) == pytest.approx(np.mean(list(survived.values())))
    assert accuracy(predictions, corruptions="benchmark") == pytest.approx(np.mean(benchmark))
    # All predictions are wholly sure, so that the calibration error is the share of wrong ones.
    assert error(predictions, corruptions="benchmark") == pytest.approx(1 - np.mean(benchmark))
    of_benchmark = of_suite([f"Tiny-ImageNet-C/{name}" for name in BENCHMARK])
    assert accuracy(of_benchmark) == accuracy(of_benchmark, corruptions="benchmark")


@pytest.mark.parametrize("names", [CIFAR_C[:-1], list(BENCHMARK), ["fog"]])
@pytest.mark.parametrize("score", ["corruption_accuracy", "corruption_ece"])
def test_the_benchmark_is_whole_and_published(score, names):
    with pytest.raises(DataError, match=r"the benchmark of corruptions is 15 published ones, .* over 'all'"):
        SCORES[score](of_suite(names), corruptions="benchmark")


@pytest.mark.parametrize("score", ["corruption_accuracy", "corruption_ece"])
def test_scores_of_corruption_without_corrupted_sets_are_refused(score, predictions):
    with pytest.raises(DataError, match="a condition of inputs is needed, and there is none; leave the score out"):
        SCORES[score](Predictions(predictions.train, predictions.test))
    with pytest.raises(DataError, match="a condition of inputs is needed, and there is none among rounded"):
        SCORES[score](predictions.limited_to(["rounded"]))


def test_prediction_disagreement_by_hand():
    targets = np.array([0, 1, 2, 0])
    first = run_of(Split(2 * np.eye(3)[[0, 1, 2, 0]], targets))
    second = run_of(Split(2 * np.eye(3)[[0, 2, 1, 0]], targets))
    # They differ on samples 1 and 2; that the second is wrong there does not matter.
    assert SCORES["prediction_disagreement"](first, second) == 2 / 4
    assert SCORES["prediction_disagreement"](second, first) == 2 / 4
    assert SCORES["prediction_disagreement"](first, first) == 0.0


def test_runs_on_different_test_sets_do_not_compare():
    logits, targets = 2 * np.eye(3), np.array([0, 1, 2])
    run = run_of(Split(logits, targets))
    with pytest.raises(DataError, match="test targets differ"):
        SCORES["prediction_disagreement"](run, run_of(Split(logits, targets[::-1])))
    with pytest.raises(DataError, match="test targets differ"):
        SCORES["prediction_disagreement"](run, run_of(Split(logits[:2], targets[:2])))


def test_one_class_and_one_sample():
    single = run_of(Split(np.array([[3.0]]), np.array([0])))
    expected = {"accuracy": 1.0, "generalization_gap": 0.0, "ece": 0.0, "nll": 0.0, "brier": 0.0}
    assert {name: SCORES[name](single) for name in expected} == expected
    assert SCORES["prediction_disagreement"](single, single) == 0.0


def test_reliability_bins_by_hand():
    bins = reliability_bins(split_with([0.5, 0.6, 0.8, 0.8], [True, False, True, True]), bins=5)
    # Open below and closed above: 0.5 and 0.6 fall into (0.4, 0.6], 0.8 into (0.6, 0.8].
    assert bins.edges.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert bins.count.tolist() == [0, 0, 2, 2, 0]
    assert bins.confidence.tolist() == pytest.approx([np.nan, np.nan, 0.55, 0.8, np.nan], nan_ok=True)
    assert bins.accuracy.tolist() == pytest.approx([np.nan, np.nan, 0.5, 1.0, np.nan], nan_ok=True)


def test_a_confidence_of_zero_joins_the_first_bin():
    # A softmax never gives it, so the split is told its confidence.
    split = Split(np.zeros((1, 2)), np.array([0]))
    vars(split)["confidence"] = np.array([0.0])
    assert reliability_bins(split, bins=3).count.tolist() == [1, 0, 0]


def test_no_bins_are_refused(predictions):
    with pytest.raises(DataError, match="at least 1 bin, got 0"):
        reliability_bins(predictions.test, bins=0)


def test_options_are_checked_before_anything_runs():
    assert SCORES["ece"].complete({"bins": 20}) == {"bins": 20, "norm": "l1"}
    with pytest.raises(ValueError, match="option 'bins' of score 'ece'"):
        SCORES["ece"].complete({"bins": 0})
    with pytest.raises(ValueError, match="option 'norm' of score 'ece'"):
        SCORES["ece"].complete({"norm": "l3"})
