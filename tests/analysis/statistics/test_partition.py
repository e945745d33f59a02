"""Shares of variation against brute-force least squares, and on data with planted truth."""

import itertools

import numpy as np
import pytest

from sharpscope.analysis.statistics.partition import partition
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def dummies(level):
    return (level[:, None] == np.unique(level)[1:]).astype(float)


def data(seed=0, seeds=8, levels=4, noise=1.0):
    """Runs of some seeds at each level: a quantity, a loss and a complexity that go together."""
    rng = np.random.default_rng(seed)
    unit, level = (part.ravel() for part in np.meshgrid(np.arange(seeds), np.arange(levels), indexing="ij"))
    loss = rng.normal(size=len(unit)) + level + rng.normal(size=seeds)[unit]
    complexity = 0.7 * loss + rng.normal(size=len(unit))
    y = loss + 0.5 * complexity + 0.3 * level + noise * rng.normal(size=len(unit)) + rng.normal(size=seeds)[unit]
    return y, loss, complexity, level, unit


def least_squares(y, columns, group):
    """Adjusted R^2 within groups, beside what dummies of the groups explain: by residuals and their freedom."""
    groups = (group[:, None] == np.unique(group)).astype(float)

    def variance(*more):
        x = np.column_stack([groups, *more])
        beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        return np.sum((y - x @ beta) ** 2) / (len(y) - rank)

    return 1 - variance(*columns) / variance()


def test_steps_are_those_of_least_squares_with_dummies():
    y, loss, complexity, level, unit = data()
    predictors = [loss[:, None], complexity[:, None], dummies(level)]
    found = partition(y, predictors, unit, unit, STREAM, resamples=20)
    assert found.orders == tuple(itertools.permutations(range(3)))
    every = []
    for order, steps in zip(found.orders, found.steps.value, strict=True):
        reached = [least_squares(y, [predictors[p] for p in order[:count]], unit) for count in range(4)]
        np.testing.assert_allclose(steps, np.diff(reached), atol=1e-12)
        every.append(dict(zip(order, np.diff(reached), strict=True)))
    mean = [np.mean([steps[p] for steps in every]) for p in range(3)]
    np.testing.assert_allclose(found.mean.value, mean, atol=1e-12)
    np.testing.assert_allclose(found.differences.value, np.subtract.outer(mean, mean), atol=1e-12)
    assert (found.runs, found.groups) == (32, 8)


def test_resamples_are_those_of_runs_drawn_again():
    y, loss, complexity, level, unit = data()
    predictors = [loss[:, None], complexity[:, None], dummies(level)]
    drawn = np.array([0, 0, 3, 4, 4, 4, 6, 7])
    rows = np.concatenate([np.flatnonzero(unit == u) for u in drawn])
    copies = np.repeat(np.arange(len(drawn)), 4)
    brute = least_squares(y[rows], [predictors[0][rows]], copies)
    again = partition(y[rows], [p[rows] for p in predictors], copies, copies, STREAM, resamples=20)
    assert again.steps.value[0, 0] == pytest.approx(brute)
    whole = partition(y, predictors, unit, unit, STREAM, resamples=2000)
    assert np.all(whole.steps.low <= whole.steps.value)
    assert np.all(whole.steps.value <= whole.steps.high)
    # The spread of resamples is that of runs drawn again.
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        drawn = rng.integers(0, 8, 8)
        rows = np.concatenate([np.flatnonzero(unit == u) for u in drawn])
        shares.append(least_squares(y[rows], [predictors[0][rows]], np.repeat(np.arange(8), 4)))
    low, high = np.quantile(shares, [0.025, 0.975])
    assert (whole.steps.low[0, 0], whole.steps.high[0, 0]) == pytest.approx((low, high), abs=0.12)


def test_settings_are_groups_of_their_own():
    y, loss, complexity, _, unit = data(seeds=12)
    setting = unit % 2
    predictors = [loss[:, None], complexity[:, None]]
    groups, seeds = unit, unit // 2
    shifted = y + 100.0 * setting
    same = [partition(v, predictors, groups, seeds, STREAM, resamples=50).steps.value for v in (y, shifted)]
    np.testing.assert_allclose(*same, atol=1e-9)


@pytest.mark.parametrize(("on_loss", "on_complexity"), [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_planted_truth(on_loss, on_complexity):
    rng = np.random.default_rng(1)
    unit, level = (part.ravel() for part in np.meshgrid(np.arange(20), np.arange(5), indexing="ij"))
    loss, complexity, rest = rng.normal(size=(3, len(unit)))
    y = on_loss * loss + on_complexity * complexity + (0.1 if on_loss or on_complexity else 1.0) * rest
    predictors = [loss[:, None], complexity[:, None], dummies(level)]
    found = partition(y, predictors, unit, unit, STREAM, resamples=500)
    wanted = np.array([on_loss, on_complexity, 0]) / max(on_loss + on_complexity, 1)
    np.testing.assert_allclose(found.mean.value, wanted, atol=0.12)
    assert found.mean.value.sum() == pytest.approx(least_squares(y, predictors, unit))


def test_useless_predictors_add_nothing_in_the_mean():
    added = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        unit, level = (part.ravel() for part in np.meshgrid(np.arange(6), np.arange(4), indexing="ij"))
        y, x = rng.normal(size=(2, len(unit)))
        added.append(partition(y, [x[:, None], dummies(level)], unit, unit, STREAM, resamples=4).steps.value[0])
    np.testing.assert_allclose(np.mean(added, axis=0), 0, atol=4 * np.std(added, axis=0).max() / np.sqrt(300))


def test_what_is_given_enters_first_and_has_no_share():
    y, loss, complexity, level, unit = data()
    others = [complexity[:, None], dummies(level)]
    found = partition(y, others, unit, unit, STREAM, given=loss[:, None], resamples=20)
    with_loss = [[], [0], [1], [0, 1]]
    alone, first, second, both = (
        least_squares(y, [loss[:, None], *(others[i] for i in these)], unit) for these in with_loss
    )
    wanted = [[first - alone, both - first], [second - alone, both - second]]
    np.testing.assert_allclose(found.steps.value, wanted, atol=1e-12)
    # Of two predictors the difference of their means is that of what each explains by itself.
    assert found.differences.value[0, 1] == pytest.approx(first - second)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, 10])
def test_intervals_hold_the_truth(seeds):
    """Two predictors that go together and explain half each by themselves, and the levels nothing."""
    rng, repeats, held = np.random.default_rng(seeds), 300, []
    unit, level = (part.ravel() for part in np.meshgrid(np.arange(seeds), np.arange(6), indexing="ij"))
    for _ in range(repeats):
        shared, a, b, rest = rng.normal(size=(4, len(unit)))
        x, z = shared + a, shared + b
        y = x + z + np.sqrt(3) * rest  # variances: x 2, z 2, x with z 1; y 2 + 2 + 2 + 3
        predictors = [x[:, None], z[:, None], dummies(level)]
        found = partition(y, predictors, unit, unit, STREAM, resamples=400)
        truth = np.array([1 / 2, 1 / 6, 0.0])  # cov(y, x)^2 / (var y var x) = 9 / 18; both: 6 / 9
        low, high = found.steps.low[0], found.steps.high[0]
        between = found.differences
        held.append([*(low <= truth) & (truth <= high), between.low[0, 1] <= 0 <= between.high[0, 1]])
    assert (np.mean(held, axis=0) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)).all()


def test_what_others_tell_already_adds_nothing():
    y, loss, _, level, unit = data()
    found = partition(y, [loss[:, None], 3 * loss[:, None] + 1, dummies(level)], unit, unit, STREAM, resamples=50)
    first = found.orders.index((0, 1, 2))
    assert found.steps.value[first, 1] == 0
    constant = partition(y, [loss[:, None], np.ones((len(y), 1))], unit, unit, STREAM, resamples=50)
    assert constant.steps.value[0, 1] == 0


def test_what_does_not_vary_within_groups_has_no_shares():
    y, loss, complexity, _, unit = data()
    found = partition(unit + 0.1, [loss[:, None], complexity[:, None]], unit, unit, STREAM, resamples=50)
    assert np.isnan(found.steps.value).all()
    assert np.isnan(found.mean.low).all()
    few = partition(y[:4], [loss[:4, None], complexity[:4, None], loss[:4, None] ** 2], unit[:4], unit[:4], STREAM)
    assert np.isfinite(few.steps.value[0, 0])
    assert np.isnan(few.steps.value[0, 2])  # no run is left to tell how much is unexplained
    alone = partition(loss[:3], [loss[:3, None]], np.arange(3), np.arange(3), STREAM, resamples=50)
    assert np.isnan(alone.steps.value).all()
