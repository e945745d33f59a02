"""Predictions of numbers and their scores, against scikit-learn and arithmetic."""

import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from sharpscope.errors import DataError
from sharpscope.extend import SCORES, Predictions, RegressionSplit, Split


def split(seed, samples=40, outputs=1, flat=False):
    rng = np.random.default_rng(seed)
    targets = 3 + np.random.default_rng(99).normal(size=(samples, outputs)).astype(np.float32)
    found = targets + rng.normal(size=targets.shape).astype(np.float32)
    return RegressionSplit(found, targets[:, 0] if flat else targets)


@pytest.mark.parametrize(("outputs", "flat"), [(1, True), (1, False), (3, False)])
def test_losses_and_r2_are_those_of_scikit_learn(outputs, flat):
    kind = {"outputs": outputs, "flat": flat}
    runs = [Predictions(split(seed, **kind), split(seed + 10, 25, **kind)) for seed in (0, 1)]
    test, train = runs[0].test, runs[0].train
    wanted = test.targets.reshape(test.outputs.shape).astype(float)
    of_test = r2_score(wanted, test.outputs, multioutput="variance_weighted")
    of_train = r2_score(train.targets.reshape(train.outputs.shape), train.outputs, multioutput="variance_weighted")
    basics = runs[0].basics()
    assert list(basics) == ["train_loss", "test_loss", "train_r2", "test_r2"]
    assert basics["test_loss"] == pytest.approx(mean_squared_error(wanted, test.outputs), rel=1e-6)
    assert basics["test_r2"] == SCORES["r2"](runs[0]) == pytest.approx(of_test, rel=1e-6)
    assert SCORES["r2_gap"](runs[0]) == pytest.approx(of_train - of_test, rel=1e-5)
    assert SCORES["mae"](runs[0]) == pytest.approx(mean_absolute_error(wanted, test.outputs), rel=1e-6)
    between = math.sqrt(mean_squared_error(runs[0].test.outputs, runs[1].test.outputs))
    assert SCORES["prediction_distance"](*runs) == pytest.approx(between, rel=1e-6)


def test_r2_is_not_a_number_where_the_targets_do_not_vary():
    constant = RegressionSplit(np.array([[1.0], [2.0]]), np.array([1.0, 1.0]))
    assert math.isnan(constant.r2)
    assert constant.mse == 0.5
    # In double precision the mean of seven tenths is no tenth.
    outputs = np.random.default_rng(0).normal(size=(7, 2))
    assert math.isnan(RegressionSplit(outputs, np.full((7, 2), 0.1)).r2)
    # Of two targets, one that does not vary adds to the error alone.
    targets = np.stack([np.full(7, 0.1), np.arange(7.0)], axis=1)
    expected = 1 - ((outputs - targets) ** 2).sum() / 28
    assert RegressionSplit(outputs, targets).r2 == pytest.approx(expected, rel=1e-12)


def test_what_was_stored_comes_back():
    predictions = Predictions(split(0, outputs=2), split(1, outputs=2))
    arrays = predictions.to_arrays()
    assert list(arrays) == ["train.outputs", "train.targets", "test.outputs", "test.targets"]
    found = Predictions.from_arrays(arrays)
    assert isinstance(found.test, RegressionSplit)
    assert all((found.to_arrays()[name] == array).all() for name, array in arrays.items())
    with pytest.raises(KeyError, match=r"train\.targets"):
        Predictions.from_arrays({"train.outputs": arrays["train.outputs"]})


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.zeros((3, 2)), np.zeros(3), r"got shapes \(3, 2\) and \(3,\)"),
        (np.zeros((3, 1)), np.zeros(2), "targets of the same shape"),
        (np.zeros((0, 1)), np.zeros(0), "one sample at least"),
        (np.zeros(3), np.zeros(3), "targets of the same shape"),
        (np.array([[1.0], [np.nan]]), np.zeros(2), "finite outputs, got NaN or infinity for 1 of 2 samples"),
        (np.zeros((2, 1)), np.array([np.inf, 0.0]), "finite targets"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(outputs, targets, message):
    with pytest.raises(DataError, match=message):
        RegressionSplit(outputs, targets)


def test_runs_on_other_samples_are_not_compared():
    other = RegressionSplit(split(0).outputs, split(0).targets + 1)
    with pytest.raises(DataError, match="their test targets differ"):
        SCORES["prediction_distance"](Predictions(split(0), split(0)), Predictions(other, other))


def test_classifiers_keep_their_basics():
    targets = np.array([0, 1, 1])
    one = Split(np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), targets)
    assert list(Predictions(one, one).basics()) == ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    assert one.basics()["accuracy"] == pytest.approx(2 / 3)
