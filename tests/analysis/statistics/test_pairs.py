"""Scores of pairs: what is taken as independent must be, or the test finds what is not there."""

import numpy as np
import pytest

from sharpscope.analysis.statistics import jackknife_values, mean_interval, signed_rank_test
from sharpscope.seeding import Stream


def random_matrix(rng, n, seeds, pairs):
    """Return a matrix with seed effects and pair effects of these sizes."""
    effects = seeds * rng.normal(size=n)
    noise = np.triu(pairs * rng.normal(size=(n, n)), 1)
    return effects[:, None] + effects[None, :] + noise + noise.T


def row_means(matrix):
    n = len(matrix)
    return (matrix.sum(axis=1) - np.diag(matrix)) / (n - 1)


def disagreement(rng, n, difficulty):
    """Return disagreements of n classifiers that are wrong by the points' difficulty and a skill of their own."""
    skill = rng.uniform(0.5, 1.5, size=(n, 1))
    wrong = rng.uniform(size=(n, len(difficulty))) < np.clip(difficulty * skill, 0, 1)
    label = np.where(wrong, rng.integers(1, 10, size=wrong.shape), 0)
    return (label[:, None] != label[None, :]).mean(axis=2)


def size_of_test(differences, values):
    return np.mean([signed_rank_test(v := values(d), 0 * v).p <= 0.05 for d in differences])


def test_mean_is_the_mean_of_pairs():
    matrix = random_matrix(np.random.default_rng(0), 8, 1.0, 1.0)
    assert jackknife_values(matrix).mean() == pytest.approx(matrix[np.triu_indices(8, 1)].mean())


def test_without_pair_effects_the_values_are_the_seed_effects():
    effects = np.array([0.3, -1.0, 0.5, 2.0])
    np.testing.assert_allclose(jackknife_values(1.5 + effects[:, None] + effects[None, :]), 1.5 + 2 * effects)


def test_fewer_than_three_seeds_say_nothing_of_spread():
    assert np.isnan(jackknife_values(np.zeros((2, 2)))).all()


@pytest.mark.parametrize(("seeds", "pairs"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_level_is_kept_whatever_the_share_of_seed_and_pair_effects(seeds, pairs):
    rng = np.random.default_rng(1)
    nulls = [random_matrix(rng, 10, seeds, pairs) for _ in range(800)]
    assert size_of_test(nulls, jackknife_values) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 800)


def test_level_is_kept_for_disagreement_of_classifiers():
    rng = np.random.default_rng(2)
    nulls = []
    for _ in range(800):
        # Seeds are drawn anew, the test points are the same for both regimes: so it is in a study.
        difficulty = rng.beta(0.3, 3.0, size=150)
        nulls.append(disagreement(rng, 10, difficulty) - disagreement(rng, 10, difficulty))
    assert size_of_test(nulls, jackknife_values) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 800)


def test_means_by_seed_would_find_what_is_not_there():
    rng = np.random.default_rng(3)
    nulls = [random_matrix(rng, 10, 1.0, 0.5) for _ in range(500)]
    assert size_of_test(nulls, row_means) > 0.2


def test_interval_covers_the_mean_of_pairs():
    rng = np.random.default_rng(4)
    covered = 0
    for i in range(300):
        interval = mean_interval(jackknife_values(random_matrix(rng, 10, 1.0, 1.0)), Stream(i), resamples=1000)
        covered += interval.low <= 0 <= interval.high
    assert covered / 300 >= 0.92


def test_a_missing_pair_costs_neither_of_its_seeds():
    matrix = random_matrix(np.random.default_rng(0), 10, 1.0, 0.2)
    whole = jackknife_values(matrix)
    matrix[2, 7] = matrix[7, 2] = np.nan
    found = jackknife_values(matrix)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, whole, atol=1.5)
    assert np.corrcoef(found, whole)[0, 1] > 0.98
    pairs = [(a, b) for a in range(10) for b in range(a) if np.isfinite(matrix[a, b])]
    mean = np.mean([matrix[pair] for pair in pairs])
    for seed in range(10):
        without = np.mean([matrix[pair] for pair in pairs if seed not in pair])
        assert found[seed] == pytest.approx(10 * mean - 9 * without)


def test_a_seed_without_any_pair_has_no_value_and_changes_no_other():
    matrix = random_matrix(np.random.default_rng(0), 6, 1.0, 1.0)
    larger = np.full((8, 8), np.nan)
    larger[:6, :6] = matrix
    found = jackknife_values(larger)
    np.testing.assert_allclose(found[:6], jackknife_values(matrix))
    assert np.isnan(found[6:]).all()
    star = np.full((4, 4), np.nan)
    star[0, 1:] = star[1:, 0] = 1.0
    assert np.isnan(jackknife_values(star)).all()
