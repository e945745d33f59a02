"""Errors under corruption beside a reference's, by hand arithmetic; effective robustness on lines that are known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from sharpscope.analysis.statistics.robustness import (
    corruption_errors,
    effective_robustness,
    relative_corruption_errors,
)

# Two seeds, three corruptions, two severities.
ERRORS = np.array([[[0.1, 0.2], [0.2, 0.4], [0.1, 0.1]], [[0.2, 0.2], [0.4, 0.4], [0.1, 0.1]]])
REFERENCE = np.array([[[0.2, 0.4], [0.3, 0.3], [0.1, 0.1]], [[0.2, 0.4001], [0.3, 0.301], [0.1001, 0.1]]])
# Sums over severities of the reference, averaged over its seeds.
MEANS = np.array([0.60005, 0.6005, 0.20005])


def test_mean_corruption_errors_by_hand():
    found = corruption_errors(ERRORS, REFERENCE)
    expected = np.array([[0.3, 0.6, 0.2], [0.4, 0.8, 0.2]]) / MEANS
    np.testing.assert_allclose(found.by_corruption, expected, rtol=1e-12)
    np.testing.assert_allclose(found.values, expected.mean(axis=1), rtol=1e-12)
    assert found.left_out == ()


def test_the_reference_has_a_mean_corruption_error_of_one():
    rng = np.random.default_rng(0)
    errors = rng.uniform(0.2, 0.3, (8, 5, 5))
    assert corruption_errors(errors, errors).values.mean() == pytest.approx(1.0, rel=1e-12)
    clean = np.full(8, 0.1)
    assert relative_corruption_errors(errors, clean, errors, clean).values.mean() == pytest.approx(1.0, rel=1e-12)


def test_relative_errors_by_hand_leave_out_what_does_the_reference_nothing():
    clean, clean_reference = np.array([0.05, 0.1]), np.array([0.1, 0.1])
    found = relative_corruption_errors(ERRORS, clean, REFERENCE, clean_reference)
    # By the third corruption the reference loses 0 and 0.0001: nothing that two seeds can tell from 0.
    assert found.left_out == (2,)
    expected = np.array([[0.2, 0.5], [0.2, 0.6]]) / (MEANS[:2] - 0.2)
    np.testing.assert_allclose(found.by_corruption[:, :2], expected, rtol=1e-12)
    assert np.isnan(found.by_corruption[:, 2]).all()
    np.testing.assert_allclose(found.values, expected.mean(axis=1), rtol=1e-12)


def test_a_reference_that_loses_nothing_leaves_nothing():
    rng = np.random.default_rng(0)
    reference = 0.1 + rng.normal(0, 0.01, (6, 2, 5))
    found = relative_corruption_errors(reference + 0.1, np.full(6, 0.1), reference, np.full(6, 0.1))
    assert found.left_out == (0, 1)
    assert np.isnan(found.values).all()
    # Of one seed nothing is known of the denominator.
    one = relative_corruption_errors(ERRORS[:1], np.array([0.05]), REFERENCE[:1], np.array([0.1]))
    assert one.left_out == (0, 1, 2)


def test_errors_of_few_seeds_that_vary_are_counted_and_only_a_reference_without_any_is_not():
    # The interval of the second denominator, of two seeds, holds 0; its mean is no less positive.
    reference = np.array([[[0.2], [0.05], [0.0]], [[0.2], [0.4], [0.0]]])
    errors = np.array([[[0.1], [0.1], [0.1]], [[0.3], [0.2], [0.0]]])
    found = corruption_errors(errors, reference)
    assert found.left_out == (2,)
    np.testing.assert_allclose(found.values, [(0.1 / 0.2 + 0.1 / 0.225) / 2, (0.3 / 0.2 + 0.2 / 0.225) / 2], rtol=1e-12)
    single = corruption_errors(errors[:1], reference[:1])
    assert single.values == pytest.approx([(0.1 / 0.2 + 0.1 / 0.05) / 2])


def test_runs_on_a_line_have_no_effective_robustness_and_those_above_have_their_distance():
    clean = np.linspace(0.7, 0.95, 40)
    corrupted = expit(-1.0 + 0.8 * logit(clean))
    found = effective_robustness(clean, corrupted, samples=1000)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-12)
    assert (found.slope, found.intercept) == (pytest.approx(0.8), pytest.approx(-1.0))
    # Of two runs of each accuracy one lies above the line by as much, on the logit scale, as the other below.
    twice = np.repeat(clean, 2)
    shift = np.tile([0.3, -0.3], 40)
    moved = expit(-1.0 + 0.8 * logit(twice) + shift)
    found = effective_robustness(twice, moved, samples=1000)
    np.testing.assert_allclose(found.values, moved - expit(-1.0 + 0.8 * logit(twice)), atol=1e-9)


def test_effective_robustness_says_why_there_is_none():
    found = effective_robustness(np.full(19, 0.5), np.full(19, 0.4), samples=100)
    assert np.isnan(found.values).all()
    assert found.reason == "a line needs 20 runs, and there are 19"
    assert effective_robustness(np.full(25, 0.9), np.linspace(0, 1, 25), samples=9).reason.startswith("all runs have")
    # Accuracies that lie nearer to 1 than half a sample are one.
    near = np.tile([0.9996, 1.0], 15)
    assert effective_robustness(near, np.linspace(0, 1, 30), samples=1000).reason.startswith("all runs have")
    # An accuracy of 1 is half a sample from it, and no infinity.
    assert np.isfinite(effective_robustness(np.linspace(0.5, 1, 25), np.linspace(0, 1, 25), samples=100).values).all()
