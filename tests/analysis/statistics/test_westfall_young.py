"""The correction by flips of whole seeds, against plain loops over all patterns of signs, and on families of nulls."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import flip_test, sign_test, smallest_reachable, westfall_young
from sharpscope.analysis.statistics.westfall_young import at_least, flipped_statistics, sign_flips
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def statistic(values):
    values = [v for v in values if np.isfinite(v)]
    mean, n = sum(values) / len(values), len(values)
    if n < 2 or all(v == 0 for v in values):
        return 0.0
    sd = np.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    if sd < 1e-7 * abs(mean):
        return np.inf
    return wallace(abs(mean) / (sd / np.sqrt(n)), n - 1)


def wallace(t, freedom):
    """The normal deviate of Student's t, to about a part in a thousand."""
    return (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(t**2 / freedom))


def by_loops(differences):
    """Step-down maxT as it is defined: test by test, over all 2^n patterns."""
    m, n = differences.shape
    observed = [statistic(row) for row in differences]
    order = sorted(range(m), key=lambda j: -observed[j])
    adjusted = [0.0] * m
    reached = 0.0
    for k, j in enumerate(order):
        count = 0
        for signs in itertools.product([1, -1], repeat=n):
            rival = max(statistic(differences[i] * np.array(signs)) for i in order[k:])
            count += rival >= observed[j] * (1 - 1e-9) if np.isfinite(observed[j]) else rival == np.inf
        reached = max(reached, count / 2**n)
        adjusted[j] = reached
    return np.array(adjusted)


CASES = {
    "shifted": lambda rng: rng.normal(np.array([0, 0.5, 1, 2])[:, None], 1, (4, 7)),
    "ties": lambda rng: rng.choice([-2.0, -1.0, 1.0, 2.0, 3.0], (5, 7)),
    "scales apart": lambda rng: rng.normal(0.6, 1, (3, 7)) * np.array([[1e-120], [1.0], [1e120]]),
    "constant rows": lambda rng: np.vstack([np.zeros(6), np.full(6, 0.3), rng.normal(0.5, 1, (2, 6))]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_step_down_is_that_of_all_patterns(case, seed):
    differences = CASES[case](np.random.default_rng(seed))
    np.testing.assert_allclose(westfall_young(differences, STREAM), by_loops(differences), rtol=1e-12)


def test_missing_seeds_contribute_nothing_to_their_test():
    differences = np.random.default_rng(0).normal(0.8, 1, (4, 8))
    differences[1, 3] = differences[2, 0] = differences[2, 7] = np.nan
    np.testing.assert_allclose(westfall_young(differences, STREAM), by_loops(differences), rtol=1e-12)


def test_of_one_test_the_flip_test_is_scipys_permutation_test():
    values = np.random.default_rng(1).normal(0.4, 1, 9)
    found = stats.permutation_test(
        (values,), lambda x: abs(x.mean()) / x.std(ddof=1), permutation_type="samples", alternative="greater"
    )
    assert flip_test(values[None], STREAM)[0] == pytest.approx(found.pvalue)
    assert westfall_young(values[None], STREAM)[0] == pytest.approx(found.pvalue)


def test_the_floor_does_not_grow_with_the_family():
    rng = np.random.default_rng(0)
    apart = rng.normal(5, 1, (60, 10))
    adjusted = westfall_young(apart, STREAM)
    assert adjusted.min() == 2 / 2**10
    np.testing.assert_allclose(smallest_reachable(apart), 2 / 2**10)
    many = rng.normal(5, 1, (3, 30))
    np.testing.assert_allclose(smallest_reachable(many), westfall_young(many, STREAM))
    assert np.all(adjusted >= flip_test(apart, STREAM) - 1e-15)


def test_pairs_that_do_not_differ_raise_the_floor():
    differences = np.array([[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, np.nan, 0.5]])
    assert smallest_reachable(differences)[0] == 2 / 2**7
    assert flip_test(differences, STREAM)[0] >= 2 / 2**7


def test_a_test_of_few_seeds_hides_nothing_of_the_others():
    rng = np.random.default_rng(0)
    clear = rng.normal(2.0, 1, (3, 10))
    few = np.full((1, 10), np.nan)
    few[0, :2] = [1.0, 1.0001]
    both = westfall_young(np.vstack([clear, few]), STREAM)
    np.testing.assert_allclose(both[:3], westfall_young(clear, STREAM))
    assert both[3] == 0.5


def test_a_test_without_values_is_none():
    adjusted = westfall_young(np.vstack([np.full(8, np.nan), np.arange(8.0) + 1]), STREAM)
    assert np.isnan(adjusted[0])
    assert adjusted[1] == 2 / 2**8
    assert np.isnan(flip_test(np.full((1, 4), np.nan), STREAM)).all()
    assert np.isnan(smallest_reachable(np.full((1, 4), np.nan))).all()
    assert westfall_young(np.empty((0, 5)), STREAM).shape == (0,)
    assert np.isnan(westfall_young(np.empty((2, 0)), STREAM)).all()


def test_random_flips_beyond_twelve_seeds_come_close_to_all():
    differences = np.random.default_rng(3).normal(0.4, 1, (5, 13))
    every = sign_flips(13, STREAM, exact_up_to=13)
    some = sign_flips(13, STREAM)
    assert (len(every), len(some)) == (2**12, 10_000)
    assert (some[0] == 1).all()
    assert len({*map(tuple, every * every[:, -1:])}) == 2**12
    loops = by_statistics(differences, every)
    np.testing.assert_allclose(westfall_young(differences, STREAM), loops, atol=0.02)
    np.testing.assert_array_equal(westfall_young(differences, STREAM), westfall_young(differences, STREAM))


def by_statistics(differences, flips):
    values = np.array([[statistic(row * signs) for signs in flips] for row in differences])
    order = np.argsort(-values[:, 0])
    adjusted, reached = np.empty(len(order)), 0.0
    for k, j in enumerate(order):
        reached = max(reached, float((values[order[k:]].max(axis=0) >= values[j, 0] * (1 - 1e-9)).mean()))
        adjusted[j] = reached
    return adjusted


def test_the_statistic_is_the_normal_deviate_that_is_as_rare_as_students():
    rng = np.random.default_rng(0)
    for n in (6, 8, 10, 30):
        values = rng.normal(1, 1, (50, n))
        found = flipped_statistics(values, np.ones((1, n)))[:, 0]
        p = stats.ttest_1samp(values, 0, axis=1).pvalue
        np.testing.assert_allclose(found, stats.norm.isf(p / 2), rtol=0.03, atol=0.01)


def test_tests_with_fewer_seeds_push_the_others_aside_less_than_by_students_statistic():
    rng, found = np.random.default_rng(0), []
    flips = sign_flips(10, STREAM)
    for _ in range(100):
        differences = rng.normal(size=(25, 10))
        differences[:12] += 1.5
        differences[20:, :3] = np.nan
        ours = flipped_statistics(differences, flips)
        freedom = np.isfinite(differences).sum(axis=1, keepdims=True) - 1
        students = np.sqrt(freedom * np.expm1((ours * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))
        reached = [at_least(every.max(axis=0), every[:12, :1]).mean(axis=1) for every in (ours, students)]
        found.append([np.mean(p <= 0.05) for p in reached])
    ours, students = np.mean(found, axis=0)
    assert ours > students + 0.03


def test_the_order_of_tests_and_a_seeds_sign_change_nothing():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.7, 1, (6, 9))
    order = rng.permutation(6)
    adjusted = westfall_young(differences, STREAM)
    np.testing.assert_allclose(westfall_young(differences[order], STREAM), adjusted[order])
    np.testing.assert_allclose(westfall_young(-3.7 * differences, STREAM), adjusted)


def test_sign_test_is_scipys():
    rng = np.random.default_rng(0)
    differences = rng.integers(-2, 5, (20, 11)).astype(float)
    differences[rng.uniform(size=differences.shape) < 0.1] = np.nan
    found = sign_test(differences)
    for row, risen, differ, p in zip(differences, found.risen, found.differ, found.p, strict=True):
        assert (risen, differ) == ((row > 0).sum(), (np.nan_to_num(row) != 0).sum())
        assert p == pytest.approx(stats.binomtest(int(risen), int(differ)).pvalue)
    assert sign_test(np.zeros((1, 4))).p[0] == 1.0
    assert np.isnan(sign_test(np.full((1, 4), np.nan)).p[0])


@pytest.mark.parametrize("regimes", [1, 5])
def test_the_family_wise_error_keeps_its_level(regimes):
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        values = rng.lognormal(0, 1, (5, regimes + 1, 8))
        false += westfall_young((values[:, 1:] - values[:, :1]).reshape(-1, 8), STREAM).min() <= 0.05
    assert false / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
