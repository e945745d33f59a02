"""Temperatures against a plain search, and what they leave as it was."""

import numpy as np
import pytest
from scipy.special import log_softmax

from sharpscope.condition import Case
from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split
from sharpscope.safety.temperature import (
    BOUND,
    Fit,
    as_sure,
    case_readings,
    cross_fitted,
    divided,
    entropy,
    fitted,
    readings,
)


def drawn(samples, seed, scale=1.0, dtype=np.float32):
    """Predictions whose logits are ``scale`` times those that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(samples, 6))
    cumulated = np.exp(log_softmax(logits, axis=1)).cumsum(axis=1)
    targets = (rng.random((samples, 1)) > cumulated[:, :-1]).sum(axis=1)
    return Split((scale * logits).astype(dtype), targets)


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_it_is_where_the_likelihood_is_greatest(scale):
    split = drawn(400, 0, scale)
    found = fitted(split)
    assert found.converged
    grid = np.exp(np.linspace(-BOUND, BOUND, 4001))
    losses = [divided(split, temperature).cross_entropy for temperature in grid]
    assert found.temperature == pytest.approx(grid[np.argmin(losses)], rel=0.003)
    assert divided(split, found.temperature).cross_entropy <= min(losses) + 1e-9


def test_it_undoes_what_the_logits_were_multiplied_by():
    of_plain, of_scaled = fitted(drawn(300, 1)), fitted(drawn(300, 1, scale=5.0))
    assert of_scaled.temperature == pytest.approx(5 * of_plain.temperature, rel=1e-5)


def test_where_all_are_right_there_is_none():
    split = drawn(200, 2)
    right = Split(split.logits, split.predicted)
    assert not fitted(right).converged
    assert fitted(right).temperature == pytest.approx(np.exp(-BOUND), rel=0.01)
    wrong = Split(split.logits, split.logits.argmin(axis=1))
    assert not fitted(wrong).converged


@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0, 100.0, 1000.0, 1e5])
def test_where_all_are_right_there_is_none_however_sure_they_are(factor):
    # The likelihood is 1 to the last digit over a stretch of temperatures, and its least place is none of them.
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(300, 10)), rng.integers(0, 10, 300)
    logits[np.arange(300), targets] += 8.0
    split = Split((factor * logits).astype(np.float32), targets)
    assert split.correct.all()
    assert fitted(split) == Fit(np.exp(-BOUND), converged=False)
    assert not cross_fitted(split).converged


def test_with_two_classes_it_is_that_of_arithmetic():
    # Nine of ten are right with a margin of 500, where confidence 0.9 is a margin of log 9.
    split = Split(np.tile([500.0, 0.0], (10, 1)) / 10, np.array([0] * 9 + [1]))
    assert fitted(split).temperature == pytest.approx(50 / np.log(9), rel=1e-9)


def test_no_prediction_changes_though_logits_differ_by_the_least():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 2)).astype(np.float32)
    logits[:, 1] = np.nextafter(logits[:, 0], np.float32(np.inf))
    logits[::3, 1] = logits[::3, 0]
    split = Split(logits, np.zeros(500, int))
    for temperature in (1e-2, 0.3, 1.7, 50.0):
        assert (divided(split, temperature).predicted == split.predicted).all()
    # In single precision some would tie, and the first class be predicted.
    assert ((logits / np.float32(1.7)).argmax(axis=1) != split.predicted).any()


def test_a_number_that_is_no_temperature_is_refused():
    with pytest.raises(DataError, match="must be positive"):
        divided(drawn(50, 0), -1.0)


def test_halves_are_fitted_to_one_another():
    test = drawn(301, 3, scale=2.0)
    fit = cross_fitted(test)
    assert fit.converged
    assert len(fit.halves) == 5
    assert fit.temperature == pytest.approx(np.exp(np.mean(np.log(fit.halves))))
    run = Predictions(drawn(100, 4, scale=2.0), test)
    for reading, (of_first, of_second) in zip(readings(run, fit), fit.halves, strict=True):
        by = (test.logits / reading.test.logits).mean(axis=1)
        second = np.isclose(by, of_second)
        assert np.isclose(by[~second], of_first).all()
        # Stratified: of each class half, to within one sample of rounding.
        for label in range(6):
            members = test.targets == label
            assert abs((second & members).sum() - (~second & members).sum()) <= 1
        assert fitted(Split(test.logits[second], test.targets[second])).temperature == pytest.approx(of_first)
        assert fitted(Split(test.logits[~second], test.targets[~second])).temperature == pytest.approx(of_second)
        assert reading.train.logits == pytest.approx(run.train.logits / fit.temperature)
        assert SCORES["accuracy"](reading) == SCORES["accuracy"](run)
    with pytest.raises(DataError, match="needs two samples or more"):
        cross_fitted(Split(np.array([[2.0, 0.0]]), np.array([0])))


def test_one_temperature_gives_one_reading():
    run = Predictions(drawn(50, 0), drawn(60, 1), calibration=drawn(70, 2))
    (reading,) = readings(run, Fit(2.0, converged=True))
    assert reading.test.logits == pytest.approx(run.test.logits / 2.0)
    assert reading.train.logits == pytest.approx(run.train.logits / 2.0)
    assert reading.calibration.logits == pytest.approx(run.calibration.logits / 2.0)
    assert not reading.cases


@pytest.mark.parametrize("halves", [(), ((1.5, 2.5), (2.0, 1.0), (3.0, 0.5), (1.0, 2.0), (0.7, 4.0))])
def test_under_conditions_each_sample_has_the_temperature_of_the_clean_one(halves):
    clean, foggy, others = drawn(60, 1), drawn(60, 2, scale=0.4), drawn(9, 3)
    foggy = Split(foggy.logits, clean.targets)
    run, fit = Predictions(clean, clean), Fit(2.0, True, halves)
    fog, other = Case("fog", 1), Case("others", 1, "data")
    cases = {case: case_readings(case, split.condensed(), run, fit) for case, split in ((fog, foggy), (other, others))}
    found = readings(run, fit, cases)
    assert len(found) == max(1, len(halves))
    for reading in found:
        by = (clean.logits / reading.test.logits).mean(axis=1)
        wanted = Split(foggy.logits / by[:, None], foggy.targets)
        assert reading.cases[fog].cross_entropy == pytest.approx(wanted.cross_entropy, rel=1e-6)
        # Other data are in no half of the test set.
        wanted = Split(others.logits / 2.0, others.targets)
        assert reading.cases[other].confidence == pytest.approx(wanted.confidence, rel=1e-6)


def test_entropy_by_hand():
    split = Split(np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]) + 3.0, np.array([0, 0]))
    expected = (1.5 * np.log(2) - 0.8 * np.log(0.8) - 0.2 * np.log(0.1)) / 2
    assert entropy(split) == pytest.approx(expected)
    # A probability that is 0 in double precision has none.
    assert entropy(Split(np.array([[2000.0, 0.0]]), np.array([0]))) == 0.0


def test_a_set_is_made_as_sure_as_another():
    split, other = drawn(300, 0), drawn(200, 1, scale=4.0)
    fit = as_sure(split, entropy(other))
    assert fit.converged
    assert entropy(divided(split, fit.temperature)) == pytest.approx(entropy(other))
    assert as_sure(split, entropy(split)).temperature == pytest.approx(1.0)
    for wanted in (0.0, np.log(6)):
        assert not as_sure(split, wanted).converged
