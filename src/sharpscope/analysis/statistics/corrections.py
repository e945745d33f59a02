"""Corrections for many tests. Each returns adjusted p-values; NaN are no tests and stay NaN.

All are monotone in every p-value, so what they make of the smallest reachable p-values is the smallest reachable
adjusted p-value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np

Correction = Callable[[np.ndarray], np.ndarray]


def _on_sorted_tests(adjust: Correction) -> Correction:
    """Let a correction of sorted p-values take them in any order, with NaN among them."""

    @wraps(adjust)
    def corrected(p: np.ndarray) -> np.ndarray:
        p = np.asarray(p, dtype=np.float64)
        result = np.full(p.shape, np.nan)
        tests = np.flatnonzero(np.isfinite(p))
        order = tests[np.argsort(p[tests], kind="stable")]
        if len(order):
            result[order] = np.minimum(adjust(p[order]), 1.0)
        return result

    return corrected


@_on_sorted_tests
def holm(p: np.ndarray) -> np.ndarray:
    """Adjust so that the chance of any false discovery is bounded, under any dependence.

    Reference: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 1979.

    >>> [round(float(x), 12) for x in holm(np.array([0.04, 0.01, 0.03]))]
    [0.06, 0.03, 0.06]
    """
    m = len(p)
    return np.maximum.accumulate(p * (m - np.arange(m)))


@_on_sorted_tests
def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjust so that the expected share of false discoveries is bounded, under positive dependence.

    Reference: Benjamini and Hochberg, "Controlling the False Discovery Rate", JRSS B 1995.
    """
    return _step_up(p, 1.0)


@_on_sorted_tests
def benjamini_yekutieli(p: np.ndarray) -> np.ndarray:
    """Adjust so that the expected share of false discoveries is bounded, under any dependence.

    Reference: Benjamini and Yekutieli, "The Control of the False Discovery Rate under Dependency", Ann. Statist. 2001.
    """
    return _step_up(p, float(np.sum(1 / np.arange(1, len(p) + 1))))


def _step_up(p: np.ndarray, penalty: float) -> np.ndarray:
    m = len(p)
    scaled = p * m * penalty / np.arange(1, m + 1)
    return np.minimum.accumulate(scaled[::-1])[::-1]
