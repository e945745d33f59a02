"""Trends within seeds: against SciPy and NumPy, and how often their tests and intervals are right."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import flip_test, hodges_lehmann, signed_rank_test, westfall_young
from sharpscope.analysis.statistics.trend import (
    bends,
    complete,
    course_band,
    fixed_sequence,
    partial_correlations,
    rank_trends,
    slopes,
    through,
    turns,
)
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test", "trend")
X = np.array([0.0, 0.1, 0.4, 0.7, 0.9, 1.0])
DRAWS = 500
MARGIN = 3 * np.sqrt(0.05 * 0.95 / DRAWS)  # of a share of 500 draws that is 0.05


def ledger(seeds=10, levels=6, seed=0):
    """Values by level and seed; a seed has luck that all its levels share."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(seeds) + rng.standard_normal((levels, seeds))


def with_holes(values):
    values = values.copy()
    values[2, 0] = values[3, 1] = values[4, 1] = values[0, 2] = np.nan
    values[1:5, 3] = np.nan
    values[1:, 4] = np.nan
    return values


def test_rank_trends_are_those_of_scipy():
    values = np.round(with_holes(ledger()), 0)
    found = rank_trends(values)
    for seed in range(10):
        rows = np.isfinite(values[:, seed])
        if not complete(values)[seed]:
            assert np.isnan(found[seed])
            continue
        wanted = stats.kendalltau(np.flatnonzero(rows), values[rows, seed]).statistic
        assert found[seed] == pytest.approx(0 if np.isnan(wanted) else wanted)


def test_seeds_count_that_have_both_ends_and_a_level_between():
    assert list(complete(with_holes(ledger()))) == [True, True, False, False, False, *[True] * 5]


def test_slopes_and_bends_are_those_of_least_squares():
    values = with_holes(ledger())
    found, bent = slopes(values, X), bends(values, X)
    for seed in np.flatnonzero(complete(values)):
        rows = np.isfinite(values[:, seed])
        assert found[seed] == pytest.approx(np.polyfit(X[rows], values[rows, seed], 1)[0])
        assert bent[seed] == pytest.approx(-np.polyfit(X[rows], values[rows, seed], 2)[0] / 4)
    assert np.isnan(found[~complete(values)]).all()


def test_a_constant_has_no_trend_slope_or_bend():
    values = np.full((6, 3), 0.1) + 0.2 - 0.2 * np.array([1, 1 + 1e-16, 1])
    values[3] = values[3] * (1 + 1e-15)
    for found in (rank_trends(values), slopes(values, X), bends(values, X)):
        assert (found == 0).all()


def test_the_middle_of_an_arc_lies_above_its_chord_by_the_bend():
    assert bends((4 * X * (1 - X))[:, None], X) == pytest.approx(1.0)


def test_partial_correlations_are_those_of_residuals():
    y, loss = ledger(), ledger(seed=1)
    y[1, 2] = np.nan
    found = partial_correlations(y, X, loss)
    for seed in (0, 1, 2):
        rows = np.isfinite(y[:, seed])
        given = loss[rows, seed]
        degree = 2 if rows.sum() >= 6 else 1
        left = [v - np.polyval(np.polyfit(given, v, degree), given) for v in (y[rows, seed], X[rows])]
        assert found[seed] == pytest.approx(np.corrcoef(*left)[0, 1])


def test_what_follows_the_loss_alone_has_no_partial_correlation_in_the_mean():
    rng = np.random.default_rng(4)
    loss = X[:, None] + 0.6 * rng.standard_normal((6, 4000))
    found = partial_correlations(loss + 0.2 * rng.standard_normal(loss.shape), X, loss)
    assert np.mean(found) == pytest.approx(0, abs=0.03)


def curved(rng, *, of_dose=0.0, levels=8, seeds=10):
    """A parabola of a loss that is a cubic of the dose, and what the dose adds; and the loss."""
    x = np.linspace(0, 1, levels)
    loss = -9 + 7 * x[:, None] ** 3 + 0.4 * rng.standard_normal((levels, seeds))
    return 0.1 * (loss + 9) ** 2 + of_dose * x[:, None] + 0.1 * rng.standard_normal(loss.shape), x, loss


@pytest.mark.parametrize("levels", [6, 8])
def test_what_follows_the_loss_by_a_curve_is_seldom_said_to_go_with_the_dose(levels):
    rng = np.random.default_rng(0)
    found = np.stack([partial_correlations(*curved(rng, levels=levels)) for _ in range(200)])
    assert np.mean(found) == pytest.approx(0, abs=0.03)
    rate = np.mean([flip_test(of_study[None], NumpyStream(0, "curved"))[0] <= 0.05 for of_study in found])
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("levels", [6, 8])
def test_what_the_dose_adds_to_a_curve_of_the_loss_is_found(levels):
    rng = np.random.default_rng(1)
    found = [partial_correlations(*curved(rng, of_dose=0.7, levels=levels)) for _ in range(50)]
    seen = [flip_test(of_study[None], NumpyStream(0, "curved"))[0] <= 0.05 for of_study in found]
    assert np.mean(seen) > 0.9


def test_nothing_is_left_of_what_the_loss_tells_itself():
    assert np.isnan(partial_correlations(ledger(2), X, np.stack([2 * X + 1, X], axis=1))).all()
    assert np.isnan(partial_correlations(2 * ledger(2) + 1, X, ledger(2))).all()
    assert np.isnan(partial_correlations(ledger(2), X, np.ones((6, 2)))).all()
    assert np.isnan(partial_correlations(ledger(2, levels=4), X[:4], ledger(2, levels=4, seed=1))).all()


def test_a_sequence_ends_at_its_first_failure():
    assert fixed_sequence([], 0.05) == 0
    assert fixed_sequence([0.2, 0.001], 0.05) == 0
    assert fixed_sequence([0.001, float("nan"), 0.001], 0.05) == 1


def test_a_course_turns_where_steps_go_both_ways():
    noise = 0.1 * ledger(8)
    up, arc = 2 * X[:, None] + noise, 8 * (X * (1 - X))[:, None] + noise
    assert turns(arc, STREAM)
    assert not turns(up, STREAM)
    assert not turns(arc[:, :4], STREAM)  # too few seeds for any test


def test_a_slope_is_split_into_a_part_through_the_loss_and_the_rest():
    rng = np.random.default_rng(2)
    loss = 2 * X[:, None] + 0.3 * rng.standard_normal((6, 40)) + rng.standard_normal(40)
    only_loss = 1.5 * loss + 0.05 * rng.standard_normal((6, 40))
    found, n = through(only_loss, loss, X, STREAM)
    total, part, rest = found.value
    assert n == 40
    assert total == pytest.approx(np.mean(slopes(only_loss, X)))
    assert part == pytest.approx(3.0, abs=0.2)
    assert found.low[2] < 0 < found.high[2]
    assert rest == pytest.approx(total - part)
    # The slope given the level is that of least squares with a mean for each seed and each level.
    both, _ = through(only_loss + 2 * X[:, None], loss, X, STREAM)
    assert both.value[2] == pytest.approx(2.0, abs=0.2)
    assert both.low[2] > 0
    levels, seeds = np.eye(6)[np.repeat(np.arange(6), 40)], np.eye(40)[np.tile(np.arange(40), 6)]
    design = np.column_stack([loss.ravel(), levels, seeds[:, 1:]])
    moves = np.linalg.lstsq(design, only_loss.ravel(), rcond=None)[0][0]
    assert part == pytest.approx(moves * np.mean(slopes(loss, X)))


def test_what_does_not_vary_within_seed_and_level_takes_no_part():
    constant = np.broadcast_to(X[:, None], (6, 8))
    assert np.isnan(through(ledger(8), constant, X, STREAM)[0].value[1])
    assert np.isnan(through(ledger(1), ledger(1), X, STREAM)[0].value).all()


def test_bands_need_seeds():
    band = course_band(ledger(3), STREAM)
    assert np.isfinite(band.value).all()
    assert np.isnan(band.low).all()
    some = ledger(8)
    some[0, 2:] = np.nan
    band = course_band(some, STREAM)
    assert np.isnan(band.low[0])
    assert np.isfinite(band.low[1:]).all()


@pytest.mark.parametrize("seeds", [4, 6, 15])
def test_a_band_holds_the_whole_course(seeds):
    held = 0
    for draw in range(300):
        band = course_band(X[:, None] + ledger(seeds, seed=draw), STREAM, resamples=1000)
        held += bool(np.all((band.low <= X) & (band.high >= X)))
    assert held / 300 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_trends_keep_their_level_where_nothing_moves(missing):
    rng, found, slope = np.random.default_rng(3), 0, 0
    for draw in range(DRAWS):
        values = np.stack([ledger(seed=10 * draw + k) for k in range(4)])
        values[rng.uniform(size=values.shape) < missing] = np.nan
        p = westfall_young(rank_trends(values), STREAM)
        found += bool(np.nanmin(p) <= 0.05)
        interval = hodges_lehmann(slopes(values[0], X), np.zeros(10))
        slope += not interval.low <= 0 <= interval.high
    assert found / DRAWS < 0.05 + MARGIN
    assert slope / DRAWS < 0.05 + MARGIN


def test_a_first_level_is_found_by_chance_in_one_of_twenty():
    found = 0
    for draw in range(DRAWS):
        values = ledger(seed=draw)
        p = [signed_rank_test(values[level], values[0]).p for level in (5, 4, 3, 2, 1)]
        found += bool(fixed_sequence(p, 0.05))
    assert found / DRAWS < 0.05 + MARGIN


def test_a_planted_slope_is_held_by_its_interval():
    held, seen = 0, 0
    for draw in range(DRAWS):
        values = np.log(3.2) * X[:, None] + 0.5 * ledger(seed=draw)
        interval = hodges_lehmann(slopes(values, X), np.zeros(10))
        held += bool(interval.low <= np.log(3.2) <= interval.high)
        seen += bool(westfall_young(rank_trends(values)[None], STREAM)[0] <= 0.05)
    assert held / DRAWS > 0.95 - MARGIN
    assert seen / DRAWS > 0.9
