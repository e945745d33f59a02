"""Levels without an order: their tests against all orders written out, the size of what they differ by, and words."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics.level_differences import (
    alike,
    levels_differ,
    seeds_to_find,
    smallest_order_p,
    told_apart,
    typical_difference,
    whole_seeds,
)
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test", "levels")


def drawn(effects, seeds, seed=0, *, spread=1.0, tests=1, own=0.5):
    """Return correlated quantities with the same effects of levels, shape ``[tests, levels, seeds]``."""
    rng = np.random.default_rng(seed)
    effects = np.asarray(effects, dtype=float)
    shared = rng.standard_normal((len(effects), seeds))
    apart = rng.standard_normal((tests, len(effects), seeds))
    of_seed = 3 * rng.standard_normal(seeds)
    return effects[:, None] + spread * (math.sqrt(1 - own) * shared + math.sqrt(own) * apart) + of_seed


def f_of(values):
    """Return F of levels against levels times seeds, from its definition, of aligned ranks."""
    levels, seeds = values.shape
    aligned = np.round(values - values.mean(axis=0), 9)
    y = stats.rankdata(aligned).reshape(values.shape)
    rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
    between = seeds * np.sum((y.mean(axis=1) - y.mean()) ** 2) / (levels - 1)
    return between / (np.sum(rest**2) / ((levels - 1) * (seeds - 1)))


def all_orders(values):
    """Yield values with the levels of each seed in every order, the same for all tests."""
    levels, seeds = values.shape[-2:]
    for orders in itertools.product(itertools.permutations(range(levels)), repeat=seeds):
        yield np.stack([values[..., list(order), s] for s, order in enumerate(orders)], axis=-1)


def test_p_is_the_share_of_all_orders_of_levels_within_seeds():
    values = drawn([0.0, 0.8, 1.0], 4)
    observed = f_of(values[0])
    expected = np.mean([f_of(moved[0]) >= observed * (1 - 1e-9) for moved in all_orders(values)])
    assert levels_differ(values, STREAM) == pytest.approx([expected])
    assert 0.01 < expected < 0.9


def test_a_family_is_corrected_by_its_largest_statistic():
    values = drawn([0.0, 0.5, 1.0], 3, tests=2, seed=1)
    values[1] = 0.3 * values[1] + drawn([0.0, 0.0, 0.0], 3, seed=2)[0]
    reached = np.array([[f_of(one) for one in moved] for moved in all_orders(values)])
    observed = np.array([f_of(one) for one in values]) * (1 - 1e-9)
    first, second = np.argsort(-observed)
    largest = np.mean(reached.max(axis=1) >= observed[first])
    expected = {first: largest, second: max(largest, np.mean(reached[:, second] >= observed[second]))}
    assert levels_differ(values, STREAM) == pytest.approx([expected[0], expected[1]])


def test_of_two_levels_it_is_a_flip_test_of_signed_ranks():
    for one in drawn([0.0, 0.7], 7, tests=3, seed=5):
        difference = one[1] - one[0]
        signed = np.sign(difference) * (stats.rankdata(np.abs(difference)) - 0.5)
        sums = [abs(np.dot(signs, signed)) for signs in itertools.product([-1, 1], repeat=7)]
        expected = np.mean(np.array(sums) >= abs(signed.sum()) - 1e-9)
        assert levels_differ(one[None], STREAM) == pytest.approx([expected])


def test_neither_what_seeds_share_nor_the_unit_counts():
    values = drawn([0.0, 0.5, 1.0], 6)
    expected = levels_differ(values, STREAM)
    assert levels_differ(values + 1e3 * np.arange(6), STREAM) == pytest.approx(expected)
    assert levels_differ(1e-200 * values, STREAM) == pytest.approx(expected)


def test_where_not_all_orders_are_looked_at_p_is_near_that_of_all():
    values = drawn([0.0, 0.3, 0.6], 6, seed=3)
    (exact,) = levels_differ(values, STREAM)
    (sampled,) = levels_differ(values, STREAM, draws=5_000)
    assert exact != sampled
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact / 5_000))


def test_levels_that_stand_in_one_order_everywhere_have_the_smallest_p():
    for levels, seeds in ((2, 6), (3, 3), (4, 2)):
        values = np.arange(levels)[:, None] + np.zeros((levels, seeds))
        assert levels_differ(values[None], STREAM) == pytest.approx([smallest_order_p(levels, seeds)])


def test_a_seed_without_a_level_does_not_count():
    values = drawn([0.0, 1.0, 2.0], 5, tests=2)
    without = values.copy()
    without[1, 2, 3] = np.nan
    rest = np.delete(values[1], 3, axis=1)
    assert levels_differ(without[1:], STREAM) == pytest.approx(levels_differ(rest[None], STREAM))
    assert np.isfinite(levels_differ(without, STREAM)).all()


def test_one_seed_says_nothing_and_none_has_no_p():
    assert levels_differ(drawn([0.0, 9.0, 1.0], 1), STREAM) == [1.0]
    assert np.isnan(levels_differ(np.full((1, 3, 4), np.nan), STREAM)).all()


def test_levels_that_are_equal_but_for_rounding_do_not_differ():
    values = np.full((1, 3, 8), 0.3) + np.array([0.0, 1e-17, 5e-17])[:, None]
    values[0, 1] = 0.1 + 0.2
    assert levels_differ(values, STREAM) == [1.0]
    assert not told_apart(values[0], STREAM).any()


def test_few_seeds_take_no_part_in_the_family_of_others():
    values = drawn([0.0, 3.0, 6.0], 6, tests=2, seed=7)
    values[1, :, 2:] = np.nan
    alone = levels_differ(values[:1], STREAM)
    both = levels_differ(values, STREAM)
    assert both[0] == pytest.approx(alone[0])
    assert both[1] >= smallest_order_p(3, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "seeds"), [(3, 4), (4, 2), (7, 10)])
@pytest.mark.parametrize("spread", [1.0, np.array([[0.5], *([[1.0]] * 20)])])
def test_of_families_without_differences_one_in_twenty_is_found(levels, seeds, spread):
    spread = spread if np.isscalar(spread) else spread[:levels]
    found = sum(
        (levels_differ(drawn(np.zeros(levels), seeds, s, tests=3, spread=spread), STREAM, draws=999) <= 0.05).any()
        for s in range(500)
    )
    assert found / 500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_without_noise_the_typical_difference_is_the_root_mean_square_over_pairs():
    effects = np.array([0.0, 1.0, 1.5, 4.0])
    pairs = [(a - b) ** 2 for a, b in itertools.combinations(effects, 2)]
    found = typical_difference(effects[:, None] + np.arange(3.0))
    assert (found.value, found.low, found.high) == pytest.approx([math.sqrt(np.mean(pairs))] * 3)


def test_chance_adds_nothing_to_the_typical_difference_in_the_mean():
    effects = np.array([0.0, 0.2, 0.6])
    truth = np.mean([(a - b) ** 2 for a, b in itertools.combinations(effects, 2)])
    made = [drawn(effects, 4, s, spread=np.array([[0.5], [1.0], [2.0]]))[0] for s in range(4000)]
    # The square without what is taken off at zero, from the pairs themselves.
    squares = []
    for values in made:
        differences = np.stack([a - b for a, b in itertools.combinations(values, 2)])
        squares.append(np.mean(differences.mean(axis=1) ** 2 - differences.var(axis=1, ddof=1) / 4))
    assert np.mean(squares) == pytest.approx(truth, abs=4 * np.std(squares) / math.sqrt(len(squares)))
    for values, square in zip(made[:50], squares, strict=False):
        assert typical_difference(values).value == pytest.approx(math.sqrt(max(square, 0.0)), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("size", [0.0, 0.3, 1.0, 5.0])
def test_intervals_hold_the_truth_near_zero_and_far_from_it(seeds, size):
    effects = size * np.array([-1.0, -0.5, 0.0, 0.2, 1.3])
    truth = math.sqrt(np.mean([(a - b) ** 2 for a, b in itertools.combinations(effects, 2)]))
    spread = np.array([[0.5], [0.75], [1.0], [1.25], [1.5]])
    found = [typical_difference(drawn(effects, seeds, s, spread=spread)[0]) for s in range(1000)]
    held = np.mean([one.low <= truth + 1e-9 and truth <= one.high for one in found])
    assert held >= 0.92


def test_few_seeds_have_no_typical_difference():
    assert math.isnan(typical_difference(np.array([[1.0], [2.0]])).value)
    assert math.isnan(typical_difference(np.array([[1.0, 2.0, 3.0]])).value)
    two = typical_difference(drawn([0.0, 5.0, 9.0], 2)[0])
    assert two.n == 2
    assert two.low <= two.value <= two.high


def test_seeds_to_find_are_those_at_which_the_test_finds_four_of_five():
    values = drawn([0.0, 0.0, 0.9], 6, seed=11)[0]
    needed = seeds_to_find(values, range(3, 200))
    centered = values - values.mean(axis=0)
    noise = np.sum(centered.var(axis=1, ddof=1)) / 2
    square = np.sum(centered.mean(axis=1) ** 2) - 2 * noise / 6
    effects = np.array([-1.0, 0.0, 1.0]) * math.sqrt(square / 2)
    assert 6 < needed < 100

    def found(seeds):
        made = (drawn(effects, seeds, s, spread=math.sqrt(noise)) for s in range(300))
        return np.mean([levels_differ(one, STREAM, draws=199)[0] <= 0.05 for one in made])

    assert found(needed) == pytest.approx(0.8, abs=0.09)
    assert found(max(needed // 2, 3)) < 0.72


def test_seeds_to_find_of_no_difference_are_beyond_any_number():
    values = np.array([[1.0, -1.0, 0.5, 0.2], [-1.0, 1.0, -0.5, -0.2], [0.0, 0.0, 0.0, 0.0]])
    assert math.isinf(seeds_to_find(values, (5, 200)))
    assert math.isnan(seeds_to_find(values[:, :1], (5, 200)))
    assert math.isnan(seeds_to_find(np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]), (5, 200)))  # all differ by 1


def test_pairs_are_told_apart_by_flips_of_whole_seeds():
    values = drawn([0.0, 0.0, 9.0], 8)[0]
    assert told_apart(values, STREAM).tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert not told_apart(values[:, :5], STREAM).any()  # the smallest p of 5 seeds is 2 / 32


def test_alike_are_the_largest_sets_without_a_pair_that_is_apart():
    rng = np.random.default_rng(0)
    for _ in range(30):
        upper = np.triu(rng.random((6, 6)) < 0.4, 1)
        apart = upper | upper.T
        free = [
            set(chosen)
            for size in range(1, 7)
            for chosen in itertools.combinations(range(6), size)
            if not apart[np.ix_(chosen, chosen)].any()
        ]
        expected = sorted(tuple(sorted(one)) for one in free if not any(one < other for other in free))
        assert alike(apart) == expected


def test_seeds_count_that_have_all_levels_and_levels_that_most_runs_have():
    values = np.arange(2 * 3 * 6, dtype=float).reshape(2, 3, 6)
    values[:, 2, :4] = np.nan  # two of six seeds
    values[0, 1, 5] = np.nan
    found = whole_seeds(values)
    assert found.levels.tolist() == [True, True, False]
    assert found.dropped.tolist() == [False] * 5 + [True]
    assert found.n == 5
    assert found.values[:, :5] == pytest.approx(values[:, :2, :5].mean(axis=0))
    assert np.isnan(found.values[:, 5]).all()


def test_nothing_at_all_is_no_level_and_no_seed():
    found = whole_seeds(np.full((1, 3, 2), np.nan))
    assert not found.levels.any()
    assert found.n == 0


def test_f_is_that_of_two_way_analysis_of_variance():
    # The permutation p of many orders comes near that of F where values are normal.
    values = drawn([0.0, 0.4, 0.7, 0.9], 8, seed=4)
    freedom = 3, 3 * 7
    expected = stats.f.sf(f_of(values[0]), *freedom)
    assert levels_differ(values, STREAM)[0] == pytest.approx(expected, abs=0.02)
