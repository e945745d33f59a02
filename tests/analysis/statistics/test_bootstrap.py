"""Intervals hold their level where the truth is known."""

import numpy as np
import pytest

from sharpscope.analysis.statistics import mean_interval
from sharpscope.seeding import Stream


@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [
        (lambda rng: rng.normal(2.0, 3.0, 10), 2.0, 0.93),
        (lambda rng: rng.uniform(0.0, 1.0, 10), 0.5, 0.93),
        # Skewed: t intervals cover 90% here, and no bootstrap of ten values does much better.
        (lambda rng: rng.exponential(1.0, 10), 1.0, 0.88),
        (lambda rng: rng.lognormal(0.0, 1.0, 10), np.exp(0.5), 0.8),
    ],
)
def test_coverage_with_ten_seeds(draw, truth, least):
    rng = np.random.default_rng(0)
    covered = 0
    for i in range(600):
        interval = mean_interval(draw(rng), Stream(0, "coverage", i), resamples=1500)
        covered += interval.low <= truth <= interval.high
    assert least <= covered / 600 <= 0.98


def test_interval_is_close_to_students_for_many_values():
    values = np.random.default_rng(0).normal(0, 1, 400)
    interval = mean_interval(values, Stream(0))
    half = 1.966 * values.std(ddof=1) / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)


def test_missing_values_are_left_out_and_one_value_has_no_interval():
    assert mean_interval(np.array([1.0, np.nan, 3.0]), Stream(0)).n == 2
    one = mean_interval(np.array([2.0, np.nan]), Stream(0))
    assert (one.n, one.value) == (1, 2.0)
    assert np.isnan([one.low, one.high]).all()
    assert np.isnan(mean_interval(np.array([]), Stream(0)).value)


def test_few_values_have_their_range_with_the_level_that_it_has():
    found = mean_interval(np.array([1.0, 2.0, 6.0]), Stream(0))
    assert (found.low, found.high, found.level) == (1.0, 6.0, 0.75)
    assert mean_interval(np.arange(5.0), Stream(0)).level == 0.95


def test_same_stream_same_interval_and_constants_have_no_width():
    values = np.random.default_rng(0).normal(size=12)
    assert mean_interval(values, Stream(3)) == mean_interval(values, Stream(3))
    assert mean_interval(values, Stream(3)) != mean_interval(values, Stream(4))
    constant = mean_interval(np.full(5, 0.3), Stream(0))
    assert constant.low == pytest.approx(0.3)
    assert constant.high == pytest.approx(0.3)
