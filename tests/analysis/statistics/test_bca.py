"""BCa intervals against SciPy's, and where the truth is known."""

import numpy as np
import pytest
from scipy import stats

import sharpscope.analysis.statistics.bca as module
from sharpscope.analysis.statistics import Bounds, bca_interval
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal"])
def test_with_plain_quantiles_it_is_scipys(monkeypatch, draw):
    monkeypatch.setattr(module, "expanded_tail", lambda n, level: (1 - level) / 2)
    values = getattr(np.random.default_rng(0), draw)(size=20)
    found = bca_interval(mean_of(values), 20, STREAM, resamples=40_000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=40_000, rng=np.random.default_rng(1))
    width = found.high - found.low
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.02 * width)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.02 * width)


def test_many_statistics_at_once_are_each_by_itself():
    values = np.random.default_rng(0).lognormal(size=(12, 2, 3))

    def every(weights):
        return np.einsum("rn,nij->rij", weights, values) / weights.sum(axis=1)[:, None, None]

    found = bca_interval(every, 12, STREAM, resamples=2000)
    assert found.value.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = bca_interval(mean_of(values[:, i, j]), 12, STREAM, resamples=2000)
        for end in ("value", "low", "high"):
            assert getattr(found, end)[i, j] == pytest.approx(getattr(alone, end))


def test_coverage_of_a_ratio_of_means_with_ten_seeds():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        below = rng.normal(4, 1, 10)
        above = 0.5 * below + rng.normal(0, 0.3, 10)
        found = bca_interval(lambda w, a=above, b=below: (w @ a) / (w @ b), 10, STREAM, resamples=1000)
        covered += bool(found.low <= 0.5 <= found.high)
    assert 0.91 <= covered / 400 <= 0.99


def test_constants_have_no_width_and_few_seeds_no_interval():
    found = bca_interval(mean_of(np.full(6, 2.0)), 6, STREAM, resamples=200)
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(2.0))
    few = bca_interval(mean_of(np.array([1.0, 2.0, 3.0])), 3, STREAM)
    assert few.value == 2.0
    assert np.isnan([few.low, few.high]).all()


def test_resamples_without_a_value_are_left_out():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    def only_with_the_last(weights):
        return np.where(weights[:, -1] > 0, weights @ values / weights.sum(axis=1), np.nan)

    found = bca_interval(only_with_the_last, 6, STREAM, resamples=2000)
    assert found.low < found.value < found.high
    undefined = bca_interval(lambda w: np.full(len(w), np.nan), 6, STREAM, resamples=200)
    assert np.isnan([undefined.value, undefined.low, undefined.high]).all()


def test_sign_tells_on_which_side_of_zero_it_lies():
    values = np.random.default_rng(0).normal(0, 0.1, (8, 3)) + np.array([1, -1, 0])
    found = bca_interval(lambda w: w @ values / w.sum(axis=1)[:, None], 8, STREAM, resamples=500)
    assert found.sign.tolist() == [1, -1, 0]


def test_p_is_below_its_level_where_zero_lies_outside():
    values = np.random.default_rng(0).normal(0, 0.1, (8, 40)) + np.linspace(-0.15, 0.15, 40)
    found = bca_interval(lambda w: w @ values / w.sum(axis=1)[:, None], 8, STREAM, resamples=500)
    assert ((found.p(8) <= 0.05) == (found.sign != 0)).all()
    assert 0 < (found.sign != 0).sum() < 40
    t = Bounds(np.array([1.5]), np.array([1.5 - stats.t.ppf(0.975, 7)]), np.array([1.5 + stats.t.ppf(0.975, 7)]))
    assert t.p(8) == pytest.approx(2 * stats.t.sf(1.5, 7))
    edges = Bounds(*(np.array(ends) for ends in ([0.0, 1.0, 1.0], [-1.0, 1.0, np.nan], [1.0, 1.0, np.nan])))
    assert edges.p(8)[:2].tolist() == [1.0, 0.0]
    assert np.isnan(edges.p(8)[2])
