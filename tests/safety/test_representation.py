"""Centered kernel alignment against the sum over all quadruples of samples, and what it is invariant to."""

import itertools

import numpy as np
import pytest
from scipy.stats import ortho_group

from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions, Split
from sharpscope.safety.representation import hsic

TEST = Split(np.eye(3)[[0, 1, 2]] * 2.0, np.array([0, 1, 1]))


def run(features, initial=None):
    return Predictions(TEST, TEST, features=features, initial_features=initial)


def cka(x, y):
    return SCORES["cka"](run(x), run(y))


def by_quadruples(x, y):
    """The U-statistic of the criterion: a mean over all four distinct samples."""
    k, el = x @ x.T, y @ y.T
    quadruples = list(itertools.permutations(range(len(x)), 4))
    return np.mean([k[a, b] * (el[a, b] + el[c, d] - 2 * el[a, c]) for a, b, c, d in quadruples])


@pytest.mark.parametrize(("samples", "wide"), [(4, 2), (7, 3), (7, 20)])
def test_it_is_the_mean_over_all_quadruples_of_samples(samples, wide):
    rng = np.random.default_rng(samples + wide)
    x, y = rng.standard_normal((samples, wide)), rng.standard_normal((samples, 4))
    y[:, 0] += x[:, 0]
    assert hsic(x, y) == pytest.approx(by_quadruples(x, y))
    own = by_quadruples(x, x), by_quadruples(y, y)
    assert cka(x, y) == pytest.approx(by_quadruples(x, y) / np.sqrt(own[0] * own[1]))


def test_rotations_shifts_and_factors_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((60, 5))
    y[:, :3] += 2 * x[:, :3]
    turned = 7.0 * x @ ortho_group.rvs(8, random_state=1) + rng.standard_normal(8) * 30
    assert cka(turned, y) == pytest.approx(cka(x, y))
    assert cka(x, turned) == pytest.approx(1.0)
    assert cka(y, x) == pytest.approx(cka(x, y))
    # What is not one factor for all does.
    assert cka(x * np.arange(1, 9), x) < 0.99


def test_it_is_about_zero_of_features_that_have_nothing_to_do_with_each_other_however_wide():
    rng = np.random.default_rng(1)
    found, biased = [], []
    for _ in range(50):
        x, y = rng.standard_normal((2, 30, 200))
        found.append(cka(x, y))
        k, el = (one @ one.T for one in (x - x.mean(axis=0), y - y.mean(axis=0)))
        biased.append((k * el).sum() / np.sqrt((k * k).sum() * (el * el).sum()))
    assert abs(np.mean(found)) < 0.01
    assert np.mean(biased) > 0.8


def test_its_floor_is_the_mean_of_both_ways_to_an_untrained_network():
    x, y, u, v = np.random.default_rng(2).standard_normal((4, 40, 6))
    floor = SCORES["cka_untrained"](run(x, u), run(y, v))
    assert floor == pytest.approx((cka(x, v) + cka(u, y)) / 2)


def test_where_it_is_not_defined():
    x = np.random.default_rng(3).standard_normal((20, 4)).astype(np.float32)
    assert np.isnan(cka(x, np.full((20, 3), 1e4, np.float32)))
    assert np.isnan(cka(x[:3], x[:3]))
    with pytest.raises(DataError, match="was not stored"):
        cka(x, None)
