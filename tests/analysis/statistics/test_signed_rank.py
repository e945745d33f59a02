"""The signed-rank test against enumeration, SciPy and arithmetic."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import signed_rank_test, smallest_p


def enumerated(differences: np.ndarray) -> dict[str, float]:
    """Return the p-values of all sign assignments, under Pratt's treatment of zeros."""
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    observed = ranks[differences[differences != 0] > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(ranks))])
    greater, less = np.mean(sums >= observed), np.mean(sums <= observed)
    return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, -0.1, 0.7, 0.2, 0.9, -0.4],
        [1, 1, 1, -1, 2, 2, -3, 3],  # ties
        [0, 0, 1, 2, -1, 3, 3, 0, 5],  # ties and zeros
        [1, 1, 1, 1],
        [-2, 0, 0, 0],
    ],
)
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_p_is_that_of_enumeration(differences, alternative):
    d = np.array(differences, dtype=float)
    assert signed_rank_test(d, np.zeros_like(d), alternative).p == pytest.approx(enumerated(d)[alternative], abs=1e-14)


@pytest.mark.parametrize("n", [5, 10, 25, 50])
def test_p_is_scipys_exact_one_without_ties(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
    assert signed_rank_test(x, y).p == pytest.approx(stats.wilcoxon(x, y, method="exact").pvalue, rel=1e-12)


def test_many_pairs_use_the_normal_limit_which_agrees_with_the_exact_one():
    rng = np.random.default_rng(0)
    d = rng.normal(0.12, 1, 201)
    limit, exact = signed_rank_test(d, np.zeros(201)), stats.wilcoxon(d, method="exact").pvalue
    assert not limit.exact
    assert limit.p == pytest.approx(exact, abs=2e-3)


def test_differences_equal_on_paper_are_ties_in_floating_point():
    # 0.94 - 0.92 and 0.96 - 0.94 differ in their last bit; both are one step of 0.02.
    x, y = np.array([0.94, 0.96, 0.9]), np.array([0.92, 0.94, 0.92])
    assert (x - y)[0] != (x - y)[1]
    assert signed_rank_test(x, y).p == signed_rank_test(np.array([1.0, 1, -1]), np.zeros(3)).p


def test_effect_is_the_simple_difference_of_rank_sums():
    # Ranks 1..4, the lowest negative: (2 + 3 + 4 - 1) / 10.
    result = signed_rank_test(np.array([-1.0, 2, 3, 4]), np.zeros(4))
    assert result.effect == pytest.approx(0.8)


def test_incomplete_pairs_are_left_out_and_no_difference_is_no_evidence():
    result = signed_rank_test(np.array([1.0, np.nan, 3]), np.array([1.0, 2, 3]))
    assert (result.n, result.zeros, result.p, result.effect) == (2, 2, 1.0, 0.0)
    empty = signed_rank_test(np.array([np.nan]), np.array([1.0]))
    assert empty.n == 0
    assert np.isnan([empty.p, empty.effect, smallest_p(0)]).all()


@pytest.mark.parametrize("n", [1, 3, 10])
def test_smallest_p_is_reached_when_all_pairs_agree(n):
    d = np.arange(1.0, n + 1)
    assert signed_rank_test(d, 0 * d).p == smallest_p(n)
    assert signed_rank_test(d, 0 * d, "greater").p == smallest_p(n, "greater")
