"""Partial correlations over few runs, against least squares by numpy."""

import numpy as np
import pytest

from sharpscope.analysis.statistics.partial import partial_correlation, takes_squares


def brute(x, y, given):
    columns = [np.ones(len(x)), *given]
    if len(x) - 1 - 2 * len(given) >= 3:
        columns += [one**2 for one in given]
    design = np.stack(columns, axis=1)
    left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, y)]
    return np.corrcoef(*left)[0, 1]


@pytest.mark.parametrize(("runs", "held"), [(5, 1), (6, 1), (9, 1), (5, 2), (7, 2), (8, 2), (12, 3)])
def test_it_is_that_of_the_residuals_of_least_squares(runs, held):
    rng = np.random.default_rng(0)
    x, y, given = (rng.normal(3, 1, (count, runs)) for count in (2, 3, held))
    found = partial_correlation(x, y, given)
    for i, j in np.ndindex(2, 3):
        assert found[i, j] == pytest.approx(brute(x[i], y[j], given))


def test_squares_are_taken_out_where_three_dimensions_are_left():
    assert [runs for runs in range(5, 12) if takes_squares(runs)] == [6, 7, 8, 9, 10, 11]
    assert not takes_squares(7, held=2)
    assert takes_squares(8, held=2)


def test_what_two_third_quantities_tell_alike_is_taken_out_once():
    rng = np.random.default_rng(1)
    x, y, given = rng.normal(size=(3, 1, 9))
    twice = np.concatenate([given, 2 * given + 1])
    assert partial_correlation(x, y, twice) == pytest.approx(partial_correlation(x, y, given))


def test_it_is_undefined_where_nothing_is_left():
    rng = np.random.default_rng(2)
    x, y, given = rng.normal(size=(3, 1, 8))
    assert np.isnan(partial_correlation(given**2 + given, y, given)).all()
    assert np.isnan(partial_correlation(np.full((1, 8), 0.1), y, given)).all()
    assert np.isnan(partial_correlation(x, y, np.full((1, 8), 0.1))).all()
    assert np.isnan(partial_correlation(x[:, :3], y[:, :3], given[:, :3])).all()
