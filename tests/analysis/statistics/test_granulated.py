"""Granulated coefficients and sign errors against plain loops, and where the answer is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics.granulated import granulated_kendall, sign_error

LEVELS, SETTINGS, SEEDS = 4, 3, 8
AXES = np.array(list(itertools.product(range(LEVELS), range(SETTINGS))))


def runs(values):
    """Cells by seeds, as runs: values, seeds, axes."""
    return values.ravel(), np.tile(np.arange(SEEDS), len(AXES)), np.repeat(AXES, SEEDS, axis=0)


def test_psi_is_the_mean_of_kendalls_tau_along_each_axis():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, len(AXES), SEEDS))
    flat, seeds, axes = runs(x)
    found = granulated_kendall(flat, y.ravel(), seeds, axes)
    for s in range(SEEDS):
        taus = [
            np.mean(
                [stats.kendalltau(x[AXES[:, 1 - a] == v, s], y[AXES[:, 1 - a] == v, s]).statistic for v in range(other)]
            )
            for a, other in ((0, SETTINGS), (1, LEVELS))
        ]
        np.testing.assert_allclose(found.of_axis[s], taus, atol=1e-12)
        assert found.psi[s] == pytest.approx(np.mean(taus))


def test_a_measure_that_tells_one_axis_alone_is_found_out():
    rng = np.random.default_rng(0)
    level = AXES[:, :1].astype(float)
    x, y = (level + 0.01 * rng.normal(size=(len(AXES), SEEDS)) for _ in range(2))
    flat, seeds, axes = runs(x)
    found = granulated_kendall(flat, y.ravel(), seeds, axes).of_axis.mean(axis=0)
    assert found[0] == 1.0
    assert abs(found[1]) < 0.4


def test_missing_runs_leave_smaller_groups():
    x = np.array([1.0, 2.0, np.nan, 1.0])
    found = granulated_kendall(
        x, np.array([3.0, 4.0, 5.0, 1.0]), np.array([0, 0, 0, 1]), np.array([[0], [1], [2], [0]])
    )
    assert found.of_axis[0, 0] == 1.0
    assert np.isnan(found.of_axis[1, 0])
    assert np.isnan(granulated_kendall(x, x, np.arange(4), np.empty((4, 0))).psi).all()


def test_sign_error_is_that_of_loops():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(AXES), SEEDS))
    y = rng.normal(size=(len(AXES), SEEDS)) + 3 * rng.normal(size=(len(AXES), 1))
    y[2, 5] = np.nan
    found, shares = sign_error(x, y, AXES), []
    for a, b in itertools.combinations(range(len(AXES)), 2):
        if np.sum(AXES[a] != AXES[b]) != 1:
            continue
        of_x, of_y = x[a] - x[b], y[a] - y[b]
        keep = np.isfinite(of_y)
        if stats.binomtest(int((of_y[keep] > 0).sum()), int(keep.sum())).pvalue <= 0.05:
            shares.append(np.mean(np.sign(of_x[keep]) != np.sign(of_y[keep])))
    assert found.pairs == len(shares) > 5
    assert (found.greatest, found.mean) == (pytest.approx(max(shares)), pytest.approx(np.mean(shares)))
    assert found.quartiles == pytest.approx(tuple(np.quantile(shares, [0.25, 0.5, 0.75])))


def test_a_measure_that_orders_all_pairs_has_no_sign_error_and_its_opposite_nothing_else():
    y = AXES.sum(axis=1, keepdims=True) + np.linspace(0, 0.1, SEEDS)
    assert sign_error(y, y, AXES).greatest == 0.0
    assert sign_error(-y, y, AXES).mean == 1.0
    assert sign_error(np.zeros_like(y), y, AXES).mean == 0.5


def test_outcomes_that_do_not_differ_beyond_luck_have_no_sign():
    rng = np.random.default_rng(0)
    few = sign_error(rng.normal(size=(12, 4)), rng.normal(size=(12, 4)), AXES)
    assert few.pairs == 0
    assert np.isnan([few.greatest, few.mean, *few.quartiles]).all()
