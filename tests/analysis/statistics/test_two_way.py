"""Means over seeds and test samples: their standard errors, and that the interval holds what it is about."""

import math

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import two_way


def drawn(seeds, samples, sds, rng):
    """A table with effects of seeds, of samples and of both; its mean over all that there could be is 0."""
    of_seed, of_sample, of_both = sds
    effects = of_seed * rng.standard_normal((seeds, 1)) + of_sample * rng.standard_normal(samples)
    return effects + of_both * rng.standard_normal((seeds, samples))


def test_its_variance_is_that_of_the_components():
    """Against the estimates of a two-way analysis of variance, from its mean squares."""
    x = drawn(6, 40, (1.0, 3.0, 2.0), np.random.default_rng(0))
    s, n = x.shape
    of_seeds = n * x.mean(axis=1).var(ddof=1)
    of_samples = s * x.mean(axis=0).var(ddof=1)
    rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    left = (rest**2).sum() / ((s - 1) * (n - 1))
    components = (of_seeds - left) / n, (of_samples - left) / s, left
    expected = components[0] / s + components[1] / n + components[2] / (s * n)
    found = two_way(x)
    assert found.value == pytest.approx(x.mean())
    assert found.error**2 == pytest.approx(expected)
    assert found.seeds_error == pytest.approx(x.mean(axis=1).std(ddof=1) / math.sqrt(s))
    assert found.interval.low < found.value < found.interval.high


def test_weights_of_a_bootstrap_give_both_standard_errors_and_count_the_rest_three_times():
    rng = np.random.default_rng(1)
    x = drawn(12, 80, (0.5, 1.0, 3.0), rng)
    s, n = x.shape
    found = two_way(x)
    samples = rng.multinomial(n, np.full(n, 1 / n), size=20_000) / n
    seeds = rng.multinomial(s, np.full(s, 1 / s), size=20_000) / s
    assert (samples @ x.mean(axis=0)).std() == pytest.approx(found.samples_error, rel=0.03)
    assert (seeds @ x.mean(axis=1)).std() * math.sqrt(s / (s - 1)) == pytest.approx(found.seeds_error, rel=0.03)
    products = np.einsum("bs,sn,bn->b", seeds, x, samples)
    rest = found.seeds_error**2 + found.samples_error**2 - found.error**2
    pigeonhole = found.seeds_error**2 * (s - 1) / s + found.samples_error**2 * (n - 1) / n + rest
    assert products.var() == pytest.approx(pigeonhole, rel=0.06)
    assert products.var() > 1.4 * found.error**2


@pytest.mark.parametrize("sds", [(1, 0, 0), (0, 1, 1e-3), (0, 0, 1), (0.05, 1, 1), (0.2, 3, 10)], ids=str)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_holds_the_mean_of_all_seeds_and_samples(seeds, sds):
    rng = np.random.default_rng(seeds)
    held = 0
    for _ in range(400):
        interval = two_way(drawn(seeds, 200, sds, rng)).interval
        held += interval.low <= 0 <= interval.high
    assert held / 400 > 0.92


def test_an_interval_over_seeds_alone_does_not():
    """Differences of accuracies of two levels: 10 seeds, 300 test samples of which some are harder for one level."""
    rng, both, of_seeds = np.random.default_rng(7), 0, 0
    for _ in range(400):
        harder = 0.3 * rng.standard_normal((2, 1, 300)) + 0.7
        right = rng.random((2, 10, 300)) < harder.clip(0, 1)
        x = right[0].astype(float) - right[1]
        interval = two_way(x).interval
        both += interval.low <= 0 <= interval.high
        means = x.mean(axis=1)
        of_seeds += stats.ttest_1samp(means, 0).pvalue > 0.05
    assert both / 400 > 0.93
    assert of_seeds / 400 < 0.75


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (4, 1)])
def test_too_few_tell_a_mean_and_nothing_of_its_spread(shape):
    found = two_way(np.ones(shape))
    assert found.value == 1.0 or (shape[0] == 0 and math.isnan(found.value))
    assert math.isnan(found.error)
    assert found.interval.level == 0.0


def test_differences_that_are_all_equal_have_no_spread():
    found = two_way(np.full((4, 9), 0.5))
    assert (found.error, found.interval.low, found.interval.high) == (0.0, 0.5, 0.5)
