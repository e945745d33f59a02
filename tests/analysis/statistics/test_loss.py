"""What remains at equal loss, where it is known."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics.loss import adjusted_contrast, overlap, retained
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def test_overlap_is_counted_in_each_setting():
    reference = np.array([[1.0, 2.0], [10.0, 20.0], [np.nan, np.nan]])
    values = np.array([[1.5, 15.0], [1.5, 15.0], [1.0, 1.0]])
    assert overlap(values, reference) == 0.5
    assert np.isnan(overlap(values[2:], reference[2:]))
    assert np.isnan(overlap(values[:1], np.array([[1.5, np.nan]])))


def test_retained_is_the_ratio_of_means_and_none_of_a_difference_that_may_be_zero():
    rng = np.random.default_rng(0)
    at_end = rng.normal(2, 0.2, 10)
    there = 0.25 * at_end + rng.normal(0, 0.02, 10)
    found = retained(np.append(there, np.nan), np.append(at_end, 2.0), STREAM)
    assert found.value == pytest.approx(there.mean() / at_end.mean())
    assert found.low < 0.25 < found.high
    nothing = retained(there, rng.normal(0, 1, 10), STREAM)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert np.isnan(retained(np.full(4, np.nan), at_end[:4], STREAM).value)


def study(direct, seeds=12, cells=4):
    """Sharpness that falls with the log loss by a slope of 1.5, and differs by ``direct`` at equal loss."""
    rng = np.random.default_rng(0)
    loss = rng.normal(0, 1, (cells, seeds))
    loss[1] -= 1.0
    y = -1.5 * loss + 0.1 * rng.normal(size=(cells, seeds)) + rng.normal(size=(cells, 1))
    y[1] += direct - (y[1] + 1.5 * loss[1]).mean() + (y[0] + 1.5 * loss[0]).mean()
    return y, loss


@pytest.mark.parametrize("direct", [0.0, 0.7])
def test_the_part_that_goes_with_the_loss_is_taken_out(direct):
    y, loss = study(direct)
    found = adjusted_contrast(y[1] - y[0], loss[1] - loss[0], y, loss, STREAM)
    assert found.slope.value == pytest.approx(-1.5, abs=0.05)
    assert found.contrast.low <= direct <= found.contrast.high
    assert (found.contrast.sign == 0) == (direct == 0)
    assert (y[1] - y[0]).mean() > direct + 0.5


def test_the_slope_is_that_of_regression_within_cells():
    y, loss = study(0.3)
    y[2, 3] = np.nan
    found = adjusted_contrast(y[1] - y[0], loss[1] - loss[0], y, loss, STREAM)
    keep = np.isfinite(y)
    centered = [np.concatenate([v[c, keep[c]] - v[c, keep[c]].mean() for c in range(len(v))]) for v in (loss, y)]
    slope = stats.linregress(*centered).slope
    assert found.slope.value == pytest.approx(slope)
    expected = np.mean(y[1] - y[0] - slope * (loss[1] - loss[0]))
    assert found.contrast.value == pytest.approx(expected)
    assert found.seeds == 12


def test_a_loss_that_does_not_vary_has_no_slope():
    y, loss = study(0.3)
    found = adjusted_contrast(y[1] - y[0], 0 * loss[0], y, np.ones_like(loss), STREAM)
    assert np.isnan([found.slope.value, found.contrast.value, found.contrast.low]).all()
