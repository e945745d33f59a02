"""The exact sign test, which needs no symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class SignTests:
    """Exact two-sided sign tests, each entry an array with one value a test.

    Attributes:
        risen: How many differences are above zero.
        differ: How many are not zero.
        p: The p-value; NaN without values, 1 where none differs.
    """

    risen: np.ndarray
    differ: np.ndarray
    p: np.ndarray


def sign_test(differences: np.ndarray) -> SignTests:
    """Test whether differences are as often above zero as below it.

    Args:
        differences: Shape ``[tests, n]``; NaN are left out, and zeros count for neither side.

    >>> found = sign_test(np.array([[0.1, 0.3, 0.2, 0.0, 0.1, 0.4]]))
    >>> int(found.risen[0]), int(found.differ[0]), float(found.p[0])
    (5, 5, 0.0625)
    """
    risen, fallen = np.sum(differences > 0, axis=1), np.sum(differences < 0, axis=1)
    p = np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(risen, fallen), risen + fallen, 0.5))
    return SignTests(risen, risen + fallen, np.where(np.isfinite(differences).any(axis=1), p, np.nan))
