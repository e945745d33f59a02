"""Corrections against SciPy and arithmetic."""

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics import benjamini_hochberg, benjamini_yekutieli, holm

P = np.array([0.01, 0.04, 0.03, 0.005, 0.6, 0.04])


@pytest.mark.parametrize(("ours", "method"), [(benjamini_hochberg, "bh"), (benjamini_yekutieli, "by")])
def test_step_up_corrections_are_scipys(ours, method):
    np.testing.assert_allclose(ours(P), stats.false_discovery_control(P, method=method))


def test_holm_by_hand():
    # Sorted: .005*6, .01*5, .03*4, then .04*3 and .04*2 raised to .12, then .6*1.
    np.testing.assert_allclose(holm(P), [0.05, 0.12, 0.12, 0.03, 0.6, 0.12])


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg, benjamini_yekutieli])
def test_missing_tests_count_for_nothing(correct):
    with_missing = correct(np.insert(P, 2, np.nan))
    assert np.isnan(with_missing[2])
    np.testing.assert_allclose(np.delete(with_missing, 2), correct(P))
    assert np.isnan(correct(np.array([np.nan]))).all()
    assert correct(np.array([])).size == 0


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg, benjamini_yekutieli])
def test_monotone_in_every_p_so_the_smallest_reachable_is_that_of_the_smallest(correct):
    rng = np.random.default_rng(0)
    for _ in range(50):
        smaller = rng.uniform(0, 0.2, 8)
        larger = smaller + rng.uniform(0, 0.2, 8) * rng.integers(0, 2, 8)
        assert (correct(smaller) <= correct(larger) + 1e-15).all()


def test_holm_bounds_the_family_wise_error():
    rng = np.random.default_rng(0)
    false_findings = [(holm(rng.uniform(0, 1, 25)) <= 0.05).any() for _ in range(2000)]
    assert np.mean(false_findings) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
