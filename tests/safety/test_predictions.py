from dataclasses import replace

import numpy as np
import pytest

from sharpscope.condition import Case, named, of_kind
from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split

LOGITS = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=np.float32)
TARGETS = np.array([0, 2])


def test_what_a_split_derives():
    split = Split(LOGITS, TARGETS)
    assert split.predicted.tolist() == [0, 0]
    assert split.correct.tolist() == [True, False]
    # e^2 / (e^2 + 1 + e) and 1 / (1 + 1 + e^-1)
    expected = [np.e**2 / (np.e**2 + 1 + np.e), 1 / (2 + 1 / np.e)]
    assert split.confidence == pytest.approx(expected, rel=1e-12)
    assert split.log_probabilities.dtype == np.float64


def test_logits_of_any_size_give_finite_log_probabilities():
    split = Split(np.array([[1e30, -1e30], [-1e30, 1e30]]), np.array([0, 0]))
    assert split.confidence.tolist() == [1.0, 1.0]
    assert split.log_probabilities[1].tolist() == [-2e30, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits = LOGITS.copy()
    logits[1, 1] = bad
    with pytest.raises(DataError, match="finite logits, got NaN or infinity for 1 of 2 samples; the model has div"):
        Split(logits, TARGETS)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [(LOGITS[0], TARGETS), (LOGITS, TARGETS[:1]), (LOGITS[:0], TARGETS[:0]), (LOGITS[:, :0], TARGETS)],
)
def test_shapes_that_do_not_fit_are_refused(logits, targets):
    with pytest.raises(DataError, match=r"logits of shape \[N, C\] and N targets"):
        Split(logits, targets)


@pytest.mark.parametrize("targets", [np.array([0, 3]), np.array([-1, 0]), np.array([0.0, 1.0])])
def test_targets_that_are_no_classes_are_refused(targets):
    with pytest.raises(DataError, match=r"integers in 0..2"):
        Split(LOGITS, targets)


SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
ONE_HOT = np.eye(3)[[1, 2]]


@pytest.mark.parametrize("probabilities", [SOFTMAX, SOFTMAX.astype(np.float16), SOFTMAX[:1], ONE_HOT])
def test_probabilities_are_no_logits(probabilities):
    targets = TARGETS[: len(probabilities)]
    with pytest.raises(
        DataError, match=r"predictions need logits, got probabilities: .* or make them by Split.of_prob"
    ):
        Split(probabilities, targets)
    split = Split.of_probabilities(probabilities, targets)
    rounding = 1e-3 if probabilities.dtype == np.float16 else 1e-6
    assert np.exp(split.log_probabilities) == pytest.approx(probabilities.astype(np.float64), abs=rounding)


NO_PROBABILITIES = {
    "log-probabilities": np.log(SOFTMAX),
    "one sample that is none": np.vstack([SOFTMAX, [[0.5, 0.5, 0.1]]]),
    "one below 0": np.array([[0.5, 0.6, -0.1]]),
    "a single class": np.ones((2, 1)),
    "zeros": np.zeros((2, 3)),
}


@pytest.mark.parametrize("logits", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_logits_are_not_taken_for_probabilities(logits):
    targets = np.zeros(len(logits), int)
    assert Split(logits, targets).log_probabilities.shape == logits.shape
    with pytest.raises(DataError, match="probabilities must have the shape"):
        Split.of_probabilities(logits, targets)


def test_calibration_is_that_of_the_probabilities():
    # Of ten samples that are 0.8 sure, eight are right: perfectly calibrated. A second softmax would say 0.65.
    probabilities = np.tile([0.8, 0.2], (10, 1))
    split = Split.of_probabilities(probabilities, np.array([0] * 8 + [1] * 2))
    assert SCORES["ece"](Predictions(split, split)) == pytest.approx(0, abs=1e-12)


def test_arrays_bring_predictions_back(predictions):
    arrays = predictions.to_arrays() | predictions.cases_to_arrays()
    back = Predictions.from_arrays(arrays)
    assert list(back.cases) == list(predictions.cases)
    restored = back.to_arrays() | back.cases_to_arrays()
    assert restored.keys() == arrays.keys()
    for name, array in arrays.items():
        assert restored[name].dtype == array.dtype
        assert (restored[name] == array).all()
    assert not Predictions.from_arrays(predictions.to_arrays()).cases


def test_targets_of_a_case_are_stored_where_they_are_its_own(predictions):
    assert not [name for name in predictions.cases_to_arrays() if name.endswith("targets")]
    other = Case("other", 1, "data")
    few = Split(LOGITS, TARGETS).condensed()
    added = replace(predictions, cases={**predictions.cases, other: few})
    back = Predictions.from_arrays(added.to_arrays() | added.cases_to_arrays())
    assert back.cases[other].targets.tolist() == TARGETS.tolist()


def test_predictions_are_chosen_by_name_and_by_kind(predictions):
    blurred, _, noisy, rounded = predictions.cases.values()
    assert predictions.under(of_kind("weights")) == [rounded]
    assert predictions.under(named("noise", "rounded")) == [noisy, rounded]
    assert predictions.under(named("blur"))[0] is blurred
    assert len(predictions.under(of_kind("inputs"))) == 3
    with pytest.raises(DataError, match="the condition 'fog' is needed, and is not there among blur, noise, rounded"):
        predictions.under(named("blur", "fog"))
    with pytest.raises(DataError, match="a condition of data is needed, and there is none among blur"):
        predictions.under(of_kind("data"))


def test_predictions_of_earlier_versions_are_read_but_for_those_under_corruptions(predictions):
    plain = predictions.to_arrays()
    names = np.frombuffer(b"blur-1", dtype=np.uint8)
    classes, confidence = np.zeros((1, 400), np.uint8), np.ones((1, 400), np.float16)
    former = {"conditions": names, "predicted": classes, "confidence": confidence}
    back = Predictions.from_arrays(plain | {f"corrupted.{what}": array for what, array in former.items()})
    assert SCORES["nll"](back) == SCORES["nll"](predictions)
    with pytest.raises(DataError, match=r"of an earlier version, which lack probabilities .* makes them anew"):
        SCORES["corruption_ece"](back)
