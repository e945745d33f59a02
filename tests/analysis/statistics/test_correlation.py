"""Rank correlations against SciPy, and what regimes do to them."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import rank_correlation
from sharpscope.analysis.statistics.correlation import weighted_spearman
from sharpscope.seeding import Stream

RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=40), 1)  # rounded, so that there are ties
Y = np.round(X + RNG.normal(size=40), 1)
SEEDS = np.tile(np.arange(10), 4)
CELLS = np.repeat(np.arange(4), 10)


def test_coefficients_are_scipys_under_ties():
    result = rank_correlation(X, Y, SEEDS, Stream(0))
    assert result.spearman == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert result.kendall == pytest.approx(stats.kendalltau(X, Y).statistic)
    assert result.low < result.spearman < result.high


def test_weights_are_repetitions():
    weights = RNG.multinomial(40, np.full(40, 1 / 40), size=5)
    expected = [stats.spearmanr(np.repeat(X, w), np.repeat(Y, w)).statistic for w in weights]
    np.testing.assert_allclose(weighted_spearman(X, Y, weights.astype(float)), expected)


def test_within_cells_is_the_mean_of_the_cells():
    result = rank_correlation(X, Y, SEEDS, Stream(0), cells=CELLS)
    parts = [stats.spearmanr(X[c == CELLS], Y[c == CELLS]).statistic for c in range(4)]
    assert result.spearman == pytest.approx(np.mean(parts))


def test_differences_between_regimes_move_the_pooled_coefficient_only():
    x, y = X + 100 * CELLS, Y - 100 * CELLS
    assert rank_correlation(x, y, SEEDS, Stream(0)).spearman < -0.8
    within = rank_correlation(x, y, SEEDS, Stream(0), cells=CELLS)
    assert within == rank_correlation(X, Y, SEEDS, Stream(0), cells=CELLS)
    assert within.spearman > 0


def test_interval_covers_no_correlation():
    covered = 0
    for i in range(200):
        rng = np.random.default_rng(i)
        result = rank_correlation(rng.normal(size=20), rng.normal(size=20), np.arange(20), Stream(i), resamples=500)
        covered += result.low <= 0 <= result.high
    assert covered >= 180


def test_undefined_where_constant_or_too_few():
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0), np.arange(5), Stream(0)).spearman)
    assert np.isnan(rank_correlation(np.full(5, np.nan), np.arange(5.0), np.arange(5), Stream(0)).spearman)
    few = rank_correlation(np.arange(3.0), np.arange(3.0), np.arange(3), Stream(0))
    assert few.spearman == pytest.approx(1)
    assert np.isnan(few.low)
