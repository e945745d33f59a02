"""The signed-rank test against enumeration, SciPy and arithmetic."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import hodges_lehmann, signed_rank_test, smallest_p


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


def test_a_pair_of_large_values_does_not_hide_the_differences_of_others():
    small = 1e-7 * np.arange(2.0, 11.0)
    x, y = np.array([1e6, *small]), np.array([0.9e6, *np.full(9, 1e-7)])
    result = signed_rank_test(x, y)
    assert (result.zeros, result.p) == (0, smallest_p(10))


def test_equal_large_values_are_a_zero_and_leave_small_differences_alone():
    x, y = np.array([1e6 + 1e-9, 3e-7, 4e-7]), np.array([1e6, 1e-7, 1e-7])
    assert signed_rank_test(x, y).zeros == 1


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


def test_smallest_p_counts_the_pairs_that_differ():
    d = np.array([1.0, 2, 3, 4, 5, 0, 0, 0])
    result = signed_rank_test(d, 0 * d)
    assert result.p == result.smallest_p == 2 / 2**5
    assert signed_rank_test(0 * d, 0 * d).smallest_p == 1.0


def test_estimate_is_the_median_of_walsh_averages_and_the_interval_has_the_tabled_ranks():
    # Hollander and Wolfe, depression scores: estimate -0.46, interval of level 0.961 from -0.786 to -0.01.
    x = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    y = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = hodges_lehmann(y, x)
    assert (found.n, found.value) == (9, pytest.approx(-0.46))
    assert (found.low, found.high) == (pytest.approx(-0.786), pytest.approx(-0.01))
    assert found.level == pytest.approx(1 - 2 * 10 / 512)


def test_interval_holds_the_shifts_that_the_test_does_not_reject():
    rng = np.random.default_rng(1)
    d = rng.normal(0.5, 1, 10)
    found = hodges_lehmann(d, 0 * d)
    inside = (found.low + 1e-9, found.high - 1e-9)
    outside = (found.low - 1e-9, found.high + 1e-9)
    assert all(signed_rank_test(d, np.full(10, shift)).p > 0.05 for shift in inside)
    assert all(signed_rank_test(d, np.full(10, shift)).p <= 0.05 for shift in outside)


@pytest.mark.parametrize("kind", ["continuous", "ties", "zeros and ties", "heavy tails"])
def test_estimate_interval_and_p_agree(kind):
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(2, 16))
        d = {
            "continuous": rng.normal(0.6, 1, n),
            "ties": rng.choice([-2.0, -1, 1, 2, 3], n),
            "zeros and ties": rng.choice([-1.0, 0, 0, 1, 2], n),
            "heavy tails": rng.standard_cauchy(n) + 0.6,
        }[kind]
        test, found = signed_rank_test(d, 0 * d), hodges_lehmann(d, 0 * d)
        assert found.low <= found.value <= found.high
        assert found.value * test.effect >= 0
        if test.p <= 0.05:
            assert not found.low < 0 < found.high
        elif found.level >= 0.95:
            assert found.low <= 0 <= found.high


def test_few_pairs_have_their_range_with_the_level_that_it_has():
    d = np.array([1.0, 2, 4, 8])
    found = hodges_lehmann(d, 0 * d)
    assert (found.low, found.high, found.level) == (1.0, 8.0, 0.875)
    assert hodges_lehmann(np.arange(1.0, 7), np.zeros(6)).level == 1 - 2 / 64
    one = hodges_lehmann(np.array([2.0]), np.array([0.5]))
    assert (one.n, one.value, one.level) == (1, 1.5, 0.0)
    assert np.isnan([one.low, one.high, hodges_lehmann(np.array([]), np.array([])).value]).all()


@pytest.mark.parametrize("n", [4, 8, 10, 250])
def test_interval_covers_at_its_level(n):
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(400):
        d = rng.standard_t(2, n) + 3.0
        found = hodges_lehmann(d, np.zeros(n))
        covered += found.low <= 3.0 <= found.high
    assert covered / 400 == pytest.approx(found.level, abs=0.03)
