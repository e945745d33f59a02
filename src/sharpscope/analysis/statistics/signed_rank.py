"""The paired Wilcoxon signed-rank test with its exact null distribution, and the estimate and interval that go with it.

The test asks on which side of zero the paired differences lie. The Hodges-Lehmann estimate is the shift that it finds
most plausible, and the interval holds the shifts that it does not reject, so that p, estimate and interval agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from sharpscope.analysis.statistics.interval import LEVEL, Interval

Alternative = Literal["two-sided", "greater", "less"]

EXACT_UP_TO = 200  # pairs; the distribution then takes milliseconds, and beyond the normal limit is good to 1e-4

# Differences of accuracies that are equal on paper differ in the last bits; they must rank as ties.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SignedRank:
    """The result of one signed-rank test.

    Attributes:
        n: Pairs in which both values are present.
        zeros: How many of these do not differ.
        p: The p-value; NaN without pairs.
        effect: Matched-pairs rank-biserial correlation in [-1, 1]: the share of rank sum in favor of the first
            sample minus the share against it; NaN without pairs, 0 when no pair differs.
        exact: Whether ``p`` is exact.
    """

    n: int
    zeros: int
    p: float
    effect: float
    exact: bool

    @property
    def smallest_p(self) -> float:
        """The two-sided p-value if all pairs that differ did so in one direction; NaN without pairs."""
        return min(1.0, 2.0 / 2.0 ** (self.n - self.zeros)) if self.n else float("nan")


def smallest_p(n: int, alternative: Alternative = "two-sided") -> float:
    """Return the smallest p-value that ``n`` pairs can reach, if all of them differ; NaN for none.

    >>> smallest_p(10)
    0.001953125
    """
    if n == 0:
        return float("nan")
    return min(1.0, (2.0 if alternative == "two-sided" else 1.0) / 2.0**n)


def signed_rank_test(x: np.ndarray, y: np.ndarray, alternative: Alternative = "two-sided") -> SignedRank:
    """Test whether paired differences ``x - y`` are symmetric about zero.

    The null distribution is the permutation distribution of the signs given the ranks, so it stays exact under ties.
    Zeros follow Pratt: they take part in the ranking, then their ranks are dropped. Pairs with a NaN are left out.

    Args:
        x: Shape ``[n]``.
        y: Shape ``[n]``, paired with ``x``.
        alternative: "greater" if ``x`` tends to be larger than ``y``, "less" if smaller.

    Returns:
        The exact test up to ``EXACT_UP_TO`` pairs, the normal approximation beyond.

    Reference: Pratt, "Remarks on Zeros and Ties in the Wilcoxon Signed Rank Procedures", JASA 1959; Kerby, "The
    Simple Difference Formula", Comprehensive Psychology 2014 (effect size).
    """
    differences = paired_differences(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    n = len(differences)
    if n == 0:
        return SignedRank(0, 0, float("nan"), float("nan"), True)
    ranks = stats.rankdata(np.abs(differences))
    zeros = int(np.sum(differences == 0))
    if zeros == n:
        return SignedRank(n, n, 1.0, 0.0, True)
    positive, negative = ranks[differences > 0].sum(), ranks[differences < 0].sum()
    effect = float((positive - negative) / (positive + negative))
    if n > EXACT_UP_TO:
        result = stats.wilcoxon(differences, zero_method="pratt", alternative=alternative, method="asymptotic")
        return SignedRank(n, zeros, float(result.pvalue), effect, False)
    p = _exact_p(ranks[differences != 0], positive, alternative)
    return SignedRank(n, zeros, p, effect, True)


def hodges_lehmann(x: np.ndarray, y: np.ndarray, *, level: float = LEVEL) -> Interval:
    """Return the Hodges-Lehmann estimate of the paired difference ``x - y`` with the interval that inverts the test.

    The estimate is the median of the Walsh averages (the means of all pairs of differences, each with itself too), the
    ends are those of its order statistics that the null distribution of ``signed_rank_test`` names, ties and zeros as
    there. So zero is not inside the interval if p is at most ``1 - level``, and not outside if p is above it; and the
    estimate and the effect never have opposite signs.

    Args:
        x: Shape ``[n]``.
        y: Shape ``[n]``, paired with ``x``; pairs with a NaN are left out.
        level: The level that the interval is to have at least.

    Returns:
        The interval with the level that it has. Where the test can reject no shift, as with fewer than six pairs, it is
        the range of the differences, at the level ``1 - 2/2^n``; one pair has none.

    Reference: Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 3rd edition, 2014, sections 3.2, 3.3.
    """
    differences = paired_differences(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    n = len(differences)
    if n == 0:
        return Interval(0, float("nan"), float("nan"), float("nan"), 0.0)
    first, second = np.triu_indices(n)
    walsh = np.sort((differences[first] + differences[second]) / 2)
    value = float(np.median(walsh))
    if n == 1:
        return Interval(1, value, float("nan"), float("nan"), 0.0)
    skipped, reached = _outside(differences, level)
    return Interval(n, value, float(walsh[skipped]), float(walsh[-1 - skipped]), reached)


def _outside(differences: np.ndarray, level: float) -> tuple[int, float]:
    """Return how many Walsh averages lie beyond each end of the interval, and its level."""
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    if len(differences) > EXACT_UP_TO:
        critical = ranks.sum() / 2 + stats.norm.ppf((1 - level) / 2) * np.sqrt(np.sum(ranks**2)) / 2
        return int(critical), level
    # The smaller rank sum decides: find the largest at which the test still rejects.
    distribution = null_distribution(ranks)
    both_tails = 2 * np.cumsum(distribution)
    rejected = np.flatnonzero((both_tails <= 1 - level) & (distribution > 0))
    if not len(rejected):
        return 0, 1 - 2 / 2 ** len(differences)
    return int(rejected[-1]) // 2, float(1 - both_tails[rejected[-1]])


def paired_differences(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the differences of complete pairs, those that differ by the rounding of their own pairs made equal.

    Args:
        x: Shape ``[n]``.
        y: Shape ``[n]``; pairs with a NaN are left out.
    """
    present = np.isfinite(x) & np.isfinite(y)
    x, y = x[present], y[present]
    if not len(x):
        return x
    rounding = _ROUNDING * np.maximum(np.abs(x), np.abs(y))
    sizes = np.abs(x - y)
    sizes[sizes <= rounding] = 0.0
    order = np.argsort(sizes, kind="stable")
    ordered, errors = sizes[order], rounding[order]
    apart = np.diff(ordered) > np.minimum(errors[1:], errors[:-1])
    ties = np.concatenate([[0], np.cumsum(apart)])
    sizes[order] = ordered[np.searchsorted(ties, ties)]
    return np.copysign(sizes, x - y)


def _exact_p(ranks: np.ndarray, positive: float, alternative: Alternative) -> float:
    """Return the exact p-value of a positive rank sum when each rank has either sign with probability one half."""
    distribution = null_distribution(ranks)
    at = round(2 * positive)
    greater, less = distribution[at:].sum(), distribution[: at + 1].sum()
    tail = {"greater": greater, "less": less, "two-sided": 2 * min(greater, less)}[alternative]
    return float(min(1.0, tail))


def null_distribution(ranks: np.ndarray) -> np.ndarray:
    """Return the probability of each rank sum 0, 1/2, 1, ... when each rank takes part with probability one half."""
    doubled = np.rint(2 * ranks).astype(np.int64)  # midranks are halves, so twice them are whole
    distribution = np.ones(1)
    for rank in doubled:
        # One more rank: half of the mass stays, half moves up by the rank.
        longer = np.zeros(len(distribution) + rank)
        longer[: len(distribution)] += 0.5 * distribution
        longer[rank:] += 0.5 * distribution
        distribution = longer
    return distribution
