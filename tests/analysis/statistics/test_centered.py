"""Intervals of statistics that resampling moves, against those of means and on shares whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import mean_interval
from sharpscope.analysis.statistics.centered import centered_interval
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def of_mean(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_of_a_mean_it_is_the_expanded_percentile_interval():
    values = np.random.default_rng(0).lognormal(size=9)
    found = centered_interval(of_mean(values), 9, STREAM, resamples=20_000)
    wanted = mean_interval(values, STREAM, resamples=20_000)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=0.01)


def test_what_resampling_adds_is_taken_off():
    values = np.random.default_rng(1).normal(size=12)

    def variance(weights):
        mean = weights @ values / 12
        return weights @ values**2 / 12 - mean**2

    def moved(weights):
        # As a share of variation does, it grows where fewer different units are in a resample.
        return variance(weights) + 5 * (12 - (weights > 0).sum(axis=1))

    found, pushed = (centered_interval(statistic, 12, STREAM) for statistic in (variance, moved))
    assert pushed.value == pytest.approx(found.value)
    assert pushed.low < found.low <= found.value <= found.high < pushed.high
    assert (pushed.low + pushed.high) / 2 == pytest.approx(found.value, abs=2.5)


def test_undefined_resamples_are_left_out_and_too_few_units_have_no_interval():
    values = np.arange(8.0)

    def some(weights):
        return np.where(weights[:, 0] > 2, np.nan, of_mean(values)(weights))

    found = centered_interval(some, 8, STREAM)
    assert found.low < 3.5 < found.high
    never = centered_interval(lambda weights: np.full(len(weights), np.nan), 8, STREAM)
    assert np.isnan([never.value, never.low, never.high]).all()
    few = centered_interval(of_mean(values[:3]), 3, STREAM)
    assert few.value == 1.0
    assert np.isnan(few.low)


def test_each_statistic_has_its_own_interval():
    values = np.random.default_rng(2).normal(size=(10, 2, 3))

    def means(weights):
        return np.einsum("rn,nij->rij", weights, values) / 10

    found = centered_interval(means, 10, STREAM)
    alone = centered_interval(of_mean(values[:, 1, 2]), 10, STREAM)
    assert found.value.shape == (2, 3)
    assert (found.low[1, 2], found.high[1, 2]) == pytest.approx((float(alone.low), float(alone.high)))


def test_it_is_no_narrower_than_leaving_out_one_unit_after_the_other_tells():
    values = np.random.default_rng(3).normal(size=8)

    def calm(weights):
        # Resamples, in which some unit is twice, show less of it than leaving one out does.
        return np.where(weights.max(axis=1) > 1, 0.2, 1.0) * of_mean(values)(weights)

    found = centered_interval(calm, 8, STREAM)
    half = stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
