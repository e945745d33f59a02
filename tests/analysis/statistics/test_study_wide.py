"""One contrast for a whole study, against loops and SciPy, with runs that failed."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import heterogeneity, study_wide
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def test_it_is_the_mean_over_settings_of_each_seed():
    differences = np.random.default_rng(0).normal(size=(4, 10))
    found = study_wide(differences)
    np.testing.assert_allclose(found.values, [np.mean([row[s] for row in differences]) for s in range(10)])
    assert found.settings.all()


def test_a_failed_run_costs_its_seed_and_no_more():
    differences = np.random.default_rng(0).normal(size=(4, 10))
    whole = study_wide(differences).values
    differences[2, 3] = np.nan
    found = study_wide(differences)
    np.testing.assert_allclose(np.delete(found.values, 3), np.delete(whole, 3))
    assert np.isnan(found.values[3])


def test_a_setting_in_which_nearly_all_failed_is_left_out_and_not_the_seeds():
    differences = np.random.default_rng(0).normal(size=(3, 10))
    differences[1, :9] = np.nan
    found = study_wide(differences)
    assert found.settings.tolist() == [True, False, True]
    np.testing.assert_allclose(found.values, differences[[0, 2]].mean(axis=0))


def test_seeds_that_were_never_run_leave_the_others():
    differences = np.full((2, 5), np.nan)
    differences[:, :3] = 1.0
    assert np.isfinite(study_wide(differences).values).sum() == 3
    assert np.isnan(study_wide(np.full((2, 3), np.nan)).values).all()


def test_heterogeneity_is_friedmans_by_all_orders():
    differences = np.random.default_rng(3).normal(size=(3, 4)) + np.array([[0.0], [1.0], [1.0]])
    observed = stats.friedmanchisquare(*differences).statistic
    orders = list(itertools.permutations(range(3)))
    reached = [
        stats.friedmanchisquare(*np.array([differences[list(order), s] for s, order in enumerate(chosen)]).T).statistic
        >= observed - 1e-9
        for chosen in itertools.product(orders, repeat=4)
    ]
    assert heterogeneity(differences[None], STREAM)[0] == pytest.approx(np.mean(reached), abs=0.02)


def test_heterogeneity_of_several_tests_is_that_of_each():
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(5, 4, 8))
    differences[1, :, 2] = np.nan
    differences[2, 0] = np.nan
    differences[3] += np.arange(4.0)[:, None]
    together = heterogeneity(differences, STREAM)
    without = np.delete(differences[1], 2, axis=1)
    assert together[1] == pytest.approx(heterogeneity(without[None], STREAM)[0], abs=0.02)
    assert together[2] == pytest.approx(heterogeneity(differences[2, 1:][None], STREAM)[0], abs=0.02)
    assert together[3] < 0.001
    assert np.isnan(heterogeneity(differences[:, :1], STREAM)).all()
    assert np.isnan(heterogeneity(differences[:, :, :1], STREAM)).all()


def test_heterogeneity_keeps_its_level():
    differences = np.random.default_rng(0).lognormal(size=(600, 3, 6)).round(1)
    assert np.mean(heterogeneity(differences, STREAM, draws=499) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
