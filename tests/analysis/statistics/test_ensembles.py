"""The Brier score over seeds, by hand and as an identity."""

import numpy as np
import pytest

from sharpscope.analysis.statistics.ensembles import brier_variance


def test_by_hand():
    # One sample of class 0, two seeds.
    found = brier_variance(np.array([[[0.8, 0.2]], [[0.4, 0.6]]]), np.array([0]))
    assert found.mean == pytest.approx((0.04 + 0.04 + 0.36 + 0.36) / 2)
    assert found.ensemble == pytest.approx(0.16 + 0.16)
    assert found.variance == pytest.approx(0.04 + 0.04)
    assert found.unbiased == pytest.approx(0.16)
    assert found.gain == pytest.approx(0.08)


def test_the_ensemble_gains_the_variance():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), (5, 200)).astype(np.float32)
    found = brier_variance(probabilities, rng.integers(0, 7, 200))
    assert found.gain == pytest.approx(found.variance, rel=1e-10)


def test_the_unbiased_variance_does_not_depend_on_the_number_of_seeds():
    rng = np.random.default_rng(0)
    targets = np.zeros(4000, int)
    few, many = (brier_variance(rng.dirichlet(np.ones(3), (s, 4000)), targets) for s in (2, 20))
    # The variance of Dirichlet(1, 1, 1) is 1/18 for each class.
    assert few.unbiased == pytest.approx(1 / 6, rel=0.05)
    assert many.unbiased == pytest.approx(1 / 6, rel=0.02)
    assert few.variance == pytest.approx(1 / 12, rel=0.05)
    assert np.isnan(brier_variance(rng.dirichlet(np.ones(3), (1, 9)), targets[:9]).unbiased)
