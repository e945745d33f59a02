"""Power against closed forms, and against the tests themselves in plain loops."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import signed_rank_test, westfall_young
from sharpscope.analysis.statistics.power import (
    Rivals,
    detectable,
    found_by_flips,
    found_by_signed_rank,
    normal_values,
    power,
    rivals_of,
    simulated_family,
    simulated_flips,
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
    assert power(alone(n), normal_values(n, STREAM, simulations=2000), effect) == pytest.approx(expected, abs=0.05)


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
    effect = detectable(alone(8), normal_values(8, STREAM))
    fresh = np.random.default_rng(5).normal(effect, 1, (2000, 8))
    assert np.mean(alone(8)(fresh)) == pytest.approx(0.8, abs=0.05)
    assert detectable(alone(12), normal_values(12, STREAM)) < effect


def test_too_few_seeds_detect_nothing():
    assert detectable(alone(5), normal_values(5, STREAM)) == np.inf
    assert detectable(found_by_signed_rank(0.05 / 26), normal_values(10, STREAM)) == np.inf
    assert np.isfinite(detectable(found_by_signed_rank(0.05 / 25), normal_values(10, STREAM)))
    assert detectable(alone(1), normal_values(1, STREAM)) == np.inf


def test_rivals_make_a_difference_harder_to_find():
    flips = simulated_flips(10, STREAM)
    family = np.random.default_rng(0).normal(size=(24, 10))
    beside = found_by_flips(flips, rivals_of(family, flips), alpha=0.05)
    assert detectable(beside, normal_values(10, STREAM)) > detectable(alone(10), normal_values(10, STREAM))
    assert (rivals_of(family[:0], flips) == 0).all()


def test_a_simulated_family_depends_as_the_tests_at_hand_as_far_as_these_tell():
    rng = np.random.default_rng(0)
    one = rng.normal(size=10)
    same = simulated_family(np.vstack([one, 3 * one, -one]), 9, STREAM, simulations=40)
    assert same.shape == (3, 40, 9)
    np.testing.assert_allclose(same[1], same[0], atol=1e-9)
    np.testing.assert_allclose(same[2], -same[0], atol=1e-9)
    shared = rng.normal(size=(1, 200))
    related = simulated_family(shared + rng.normal(size=(6, 200)), 20, STREAM, simulations=400).reshape(6, -1)
    correlations = np.corrcoef(related)[~np.eye(6, dtype=bool)]
    assert correlations.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(related.std(axis=1), 1, atol=0.03)


def test_correlations_that_few_seeds_make_up_are_drawn_towards_zero():
    apart = np.random.default_rng(1).normal(size=(25, 8))
    family = simulated_family(apart, 20, STREAM, simulations=200).reshape(25, -1)
    off = ~np.eye(25, dtype=bool)
    of_sample = np.sqrt(np.mean(np.corrcoef(apart)[off] ** 2))
    assert np.sqrt(np.mean(np.corrcoef(family)[off] ** 2)) < 0.6 * of_sample


def test_a_test_that_does_not_vary_is_simulated_by_itself():
    family = simulated_family(np.zeros((3, 2)), 12, STREAM, simulations=300)
    assert np.abs(np.corrcoef(family.reshape(3, -1))[~np.eye(3, dtype=bool)]).max() < 0.1


def test_rivals_are_the_largest_of_the_others():
    flips = simulated_flips(7, STREAM)
    family = np.random.default_rng(2).normal(size=(5, 3, 7))
    rivals = Rivals.of(family, flips)
    for test in range(5):
        others = np.delete(family, test, axis=0)
        expected = [rivals_of(others[:, simulation], flips) for simulation in range(3)]
        np.testing.assert_allclose(rivals.beside(test), expected)
    assert (Rivals.of(family[:1], flips).beside(0) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("common", [0.0, 0.8])
def test_the_power_that_a_pilot_tells_is_that_of_fresh_studies(common):
    """Five quantities of five levels that share a reference, and go together or not; the first differs."""
    rng, n, effect = np.random.default_rng(3), 9, 1.2

    def differences(seeds):
        of_run, own = rng.normal(size=(1, 6, seeds)), rng.normal(size=(5, 6, seeds))
        values = np.sqrt(common) * of_run + np.sqrt(1 - common) * own
        return (values[:, 1:] - values[:, :1]).reshape(25, seeds) / np.sqrt(2)

    flips = simulated_flips(n, STREAM)
    fresh = np.stack([differences(n) for _ in range(2000)], axis=1)
    true = power(found_by_flips(flips, Rivals.of(fresh, flips).beside(0), alpha=0.05), fresh[0], effect)
    told = []
    for pilot in range(20):
        family = simulated_family(differences(10), n, STREAM.child(pilot), simulations=300)
        told.append(power(found_by_flips(flips, Rivals.of(family, flips).beside(0), alpha=0.05), family[0], effect))
    assert np.mean(told) == pytest.approx(true, abs=0.03)
