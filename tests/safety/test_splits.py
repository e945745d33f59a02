"""What is kept of predictions under a condition, against the same of all logits in double precision."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss

from sharpscope.errors import DataError
from sharpscope.safety import SCORES, SPLITS, Predictions, RegressionSplit, Split, TopSplit
from sharpscope.safety.reliability import reliability_bins


def split_of(classes, scale, n=500, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    return Split((scale * rng.normal(size=(n, classes))).astype(np.float32), targets)


def aurc(split):
    """The mean over coverage of the error among the most confident, which the order of confidences decides."""
    wrong = ~split.correct[np.argsort(-split.confidence, kind="stable")]
    return (wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean()


@pytest.fixture(params=[(1, 1), (2, 3), (5, 1), (10, 0.1), (10, 20), (300, 4)], ids=str)
def split(request):
    return split_of(*request.param)


def test_what_is_kept_gives_the_scores_of_all_logits(split):
    kept, run = split.condensed(), Predictions(split, split)
    assert (kept.predicted == split.predicted).all()
    assert (kept.correct == split.correct).all()
    assert kept.confidence == pytest.approx(split.confidence, rel=1e-6)
    assert kept.cross_entropy == pytest.approx(split.cross_entropy, rel=1e-6, abs=1e-12)
    assert kept.brier == pytest.approx(SCORES["brier"](run), rel=1e-6, abs=1e-12)
    assert aurc(kept) == pytest.approx(aurc(split), rel=1e-6)
    bins = reliability_bins(kept)
    assert bins.count.sum() == len(split.targets)
    assert bins.confidence == pytest.approx(reliability_bins(split).confidence, rel=1e-6, nan_ok=True)


def test_what_is_kept_is_that_of_scikit_learn():
    split = split_of(10, 3)
    probabilities, labels = np.exp(split.log_probabilities), range(10)
    kept = split.condensed()
    assert kept.cross_entropy == pytest.approx(log_loss(split.targets, probabilities, labels=labels), rel=1e-6)
    expected = brier_score_loss(split.targets, probabilities, labels=labels, scale_by_half=False)
    assert kept.brier == pytest.approx(expected, rel=1e-6)


def test_the_best_five_classes_come_in_their_order():
    split = split_of(300, 2)
    kept = split.condensed()
    assert kept.top.dtype == np.uint16
    expected = np.sort(split.log_probabilities, axis=1)[:, :-6:-1]
    assert kept.log_top == pytest.approx(expected, rel=1e-6)
    assert np.take_along_axis(split.log_probabilities, kept.top.astype(int), axis=1) == pytest.approx(expected)


def test_of_equal_classes_the_lowest_comes_first_as_it_is_predicted():
    split = Split(np.array([[1.0, 2.0, 2.0, 0.0, 2.0, 0.0]], dtype=np.float32), np.array([4]))
    assert split.condensed().top.tolist() == [[1, 2, 4, 0, 3, 5]]
    # Their log-probabilities round to the same number in double precision, their logits do not.
    far = Split(np.array([[1.0, 1.5, 1e17]]), np.array([0]))
    assert far.condensed().top.tolist() == [[2, 1, 0]]


def test_samples_that_are_nearly_certain_stay_apart_and_have_a_brier_score():
    # Margins of 20 and 25: probabilities of 1 - 2e-9 and 1 - 1e-11, which are both 1 in single precision.
    split = Split(np.array([[20.0, 0.0], [25.0, 0.0]]), np.array([0, 0]))
    kept = split.condensed()
    assert kept.confidence[0] < kept.confidence[1] < 1
    # (1 - p)^2 of the true class and the same of the other one.
    assert kept.brier == pytest.approx(np.mean([2 * np.exp(-40), 2 * np.exp(-50)]), rel=1e-6)


@pytest.mark.parametrize("margin", [1e-3, 1.5, 30.0, 37.0, 60.0, 400.0, 700.0])
def test_the_loss_of_what_is_nearly_certain_is_that_of_arithmetic(margin):
    split = Split(np.array([[margin, 0.0], [0.0, margin]]), np.array([0, 1]))
    assert split.cross_entropy == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-14)
    assert split.sureness == pytest.approx(wrong_loss := margin + math.log1p(math.exp(-margin)), rel=1e-14)
    wrong = Split(split.logits, np.array([1, 0]))
    assert wrong.cross_entropy == pytest.approx(wrong_loss, rel=1e-14)


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize("scale", [0.1, 1, 30, 300, 1e5])
def test_samples_are_as_sure_as_by_arithmetic_however_far_the_best_lies_above_the_others(classes, scale):
    split = split_of(classes, scale)
    best = np.sort(split.logits.astype(float), axis=1)
    lead = best[:, -1] - best[:, -2]
    others = np.log(np.exp(best[:, :-1] - best[:, -2:-1]).sum(axis=1)) - lead
    expected = np.log1p(np.exp(others)) - others
    assert split.sureness == pytest.approx(expected, rel=1e-12)
    assert split.condensed().sureness == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_log_probabilities_are_those_of_scipy():
    split = split_of(10, 5)
    assert split.log_probabilities == pytest.approx(log_softmax(split.logits.astype(float), axis=1), rel=1e-12)


def test_logits_of_any_size_give_finite_numbers():
    split = Split(np.array([[3e38, -3e38], [1e300, -1e300]]), np.array([1, 1]))
    kept = split.condensed()
    assert np.isfinite(kept.log_top).all()
    assert kept.confidence.tolist() == [1.0, 1.0]
    assert kept.brier == 2.0


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 40.0])
@pytest.mark.parametrize("classes", [1, 4, 10])
def test_what_is_kept_at_another_temperature_is_what_is_kept_of_divided_logits(classes, temperature):
    split = split_of(classes, 2)
    found = split.condensed().divided(temperature, classes)
    wanted = Split(split.logits.astype(np.float64) / temperature, split.targets).condensed()
    assert (found.top == wanted.top).all()
    assert found.log_top == pytest.approx(wanted.log_top, rel=2e-6, abs=1e-6)
    assert found.log_true == pytest.approx(wanted.log_true, rel=2e-6, abs=1e-6)
    assert found.brier == pytest.approx(wanted.brier, rel=1e-5, abs=1e-9)


def test_each_sample_can_have_a_temperature_of_its_own():
    split, by = split_of(6, 2), np.linspace(0.3, 4.0, 500)
    found = split.condensed().divided(by, 6)
    wanted = Split(split.logits / by[:, None], split.targets)
    assert found.cross_entropy == pytest.approx(wanted.cross_entropy, rel=1e-6)


def test_without_all_classes_there_is_no_other_temperature():
    split = split_of(11, 2)
    assert not split.condensed().has_all(11)
    # Five that have nearly all of the probability are no way out: at a high temperature the others come up.
    with pytest.raises(DataError, match="need all 11 classes of each sample, and 5 are kept"):
        split.condensed().divided(2.0, 11)
    found = TopSplit.of(split, 11).divided(2.0, 11)
    assert found.brier == pytest.approx(Split(split.logits / 2.0, split.targets).condensed().brier, rel=1e-5)
    # No more of it is kept than of any other.
    assert found.top.shape == split.condensed().top.shape == (500, 5)


def test_shapes_that_do_not_fit_are_refused():
    kept = split_of(10, 1, n=3).condensed()
    with pytest.raises(DataError, match=r"under a condition need .* got shapes \(2,\), \(3,\), \(3, 10\)"):
        TopSplit(kept.log_true[:2], kept.log_top, kept.top, kept.wrong_squares, kept.targets)
    with pytest.raises(DataError, match="under a condition need"):
        TopSplit(kept.log_true, kept.log_top[:, :2], kept.top, kept.wrong_squares, kept.targets)


@pytest.mark.parametrize("classes", [1, 2, 5, 10, 11, 256, 257, 1000])
def test_the_bytes_told_are_those_taken(classes):
    split = split_of(classes, 1, n=7)
    kept = split.condensed()
    taken = sum(getattr(kept, what).nbytes for what in kept.stored)
    assert taken == 7 * SPLITS["classification"].condensed_bytes(classes)


def test_of_numbers_all_is_kept():
    split = RegressionSplit(np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32))
    assert split.condensed() is split
    assert split.outputs.nbytes == 4 * RegressionSplit.condensed_bytes(3)
