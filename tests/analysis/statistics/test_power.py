"""Power against closed forms, and against the tests themselves in plain loops."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import signed_rank_test, westfall_young
from sharpscope.analysis.statistics.power import (
    detectable,
    found_by_flips,
    found_by_signed_rank,
    power,
    rivals_of,
    simulated_flips,
    simulated_rivals,
)
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def alone(n):
    flips = simulated_flips(n, STREAM)
    return found_by_flips(flips, np.zeros(len(flips)), alpha=0.05)


@pytest.mark.parametrize(("n", "effect"), [(10, 0.5), (10, 1.0), (20, 0.6)])
def test_of_one_test_it_is_about_that_of_students_t(n, effect):
    t, noncentral = stats.t.ppf(0.975, n - 1), stats.nct(n - 1, effect * np.sqrt(n))
    expected = noncentral.sf(t) + noncentral.cdf(-t)
    assert power(alone(n), n, effect, STREAM, simulations=2000) == pytest.approx(expected, abs=0.05)


def test_decisions_are_those_of_the_tests():
    rng = np.random.default_rng(0)
    values, others = rng.normal(0.7, 1, (60, 8)), rng.normal(0, 1, (6, 8))
    flips = simulated_flips(8, STREAM)
    found = found_by_flips(flips, rivals_of(others, flips), alpha=0.05)(values)
    # Where it comes first, the step-down correction compares with all the others.
    expected = [westfall_young(np.vstack([row[None], others]), STREAM) for row in values]
    first = np.array([p[0] == np.nanmin(p) for p in expected])
    np.testing.assert_array_equal(found[first], np.array([p[0] <= 0.05 for p in expected])[first])
    assert 0 < found.sum() < 60
    ranked = found_by_signed_rank(0.01)(values)
    np.testing.assert_array_equal(ranked, [signed_rank_test(row, np.zeros(8)).p <= 0.01 for row in values])
    assert found_by_signed_rank(0.05)(rng.normal(0.3, 1, (5, 250))).all()


def test_what_is_detectable_is_found_in_four_of_five():
    effect = detectable(alone(8), 8, STREAM)
    fresh = np.random.default_rng(5).normal(effect, 1, (2000, 8))
    assert np.mean(alone(8)(fresh)) == pytest.approx(0.8, abs=0.05)
    assert detectable(alone(12), 12, STREAM) < effect


def test_too_few_seeds_detect_nothing():
    assert detectable(alone(5), 5, STREAM) == np.inf
    assert detectable(found_by_signed_rank(0.05 / 26), 10, STREAM) == np.inf
    assert np.isfinite(detectable(found_by_signed_rank(0.05 / 25), 10, STREAM))
    assert detectable(alone(1), 1, STREAM) == np.inf


def test_rivals_make_a_difference_harder_to_find():
    flips = simulated_flips(10, STREAM)
    family = np.random.default_rng(0).normal(size=(24, 10))
    beside = found_by_flips(flips, rivals_of(family, flips), alpha=0.05)
    assert detectable(beside, 10, STREAM) > detectable(alone(10), 10, STREAM)
    assert (rivals_of(family[:0], flips) == 0).all()


def test_simulated_rivals_depend_on_one_another_as_the_tests_at_hand():
    rng = np.random.default_rng(0)
    one = rng.normal(size=10)
    flips = simulated_flips(9, STREAM)
    same = simulated_rivals(np.vstack([one, 3 * one, -one]), flips, STREAM, simulations=40)
    single = simulated_rivals(one[None], flips, STREAM, simulations=40)
    np.testing.assert_allclose(same, single, rtol=1e-6)
    apart = simulated_rivals(rng.normal(size=(20, 10)), flips, STREAM, simulations=40)
    assert apart.mean() > 1.5 * single.mean()
