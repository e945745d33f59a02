"""One family of tests of paired differences, corrected by flipping the signs of whole seeds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sharpscope.numpy_stream import NumpyStream

EXACT_UP_TO = 12  # seeds; their 4,096 patterns of signs are all looked at
DRAWS = 9_999  # patterns beyond, beside the identity

# Sums of the same numbers in another order differ in the last bits, and must count as equal.
_ROUNDING = 1e-9


def sign_flips(n: int, stream: NumpyStream, *, exact_up_to: int = EXACT_UP_TO, draws: int = DRAWS) -> np.ndarray:
    """Return patterns of signs of ``n`` seeds, the identity first, shape ``[flips, n]``; read-only.

    A pattern and its opposite give the same two-sided statistics, so of each two one is here: all ``2^(n-1)`` up to
    ``exact_up_to`` seeds, beyond it the identity and ``draws`` random ones.

    Args:
        n: How many seeds.
        stream: Where random patterns are drawn from.
        exact_up_to: Up to how many seeds all patterns are taken.
        draws: How many random patterns are taken beyond.
    """
    return _flips(n, stream.path, n <= exact_up_to, draws)


@lru_cache(maxsize=8)
def _flips(n: int, path: tuple[int | str, ...], exact: bool, draws: int) -> np.ndarray:
    if exact:
        bits = (np.arange(2 ** max(n - 1, 0))[:, None] >> np.arange(n)[None, :]) & 1
    else:
        bits = NumpyStream(*path).numpy().integers(0, 2, size=(draws + 1, n))
        bits[0] = 0
    flips = 1.0 - 2.0 * bits
    flips.flags.writeable = False
    return flips


def deviate(sums: np.ndarray, squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return how far values lie from zero on the whole, by their sum and sum of squares, which flips do not change.

    It is Student's ``|mean| / (sd / sqrt(n))``, brought to the normal deviate that is about as rare: with the same
    ``n`` it orders patterns of signs as Student's does, and tests of few seeds, whose statistic is easily large, can
    stand beside those of many. It is 0 where all values are zero or there are fewer than two, and infinite where they
    are equal and not zero.

    Args:
        sums: Any shape.
        squares: Sums of squares; broadcasts with ``sums``.
        n: How many values; broadcasts with ``sums``.

    Reference: Wallace, "Bounds on Normal Approximations to Student's and the Chi-Square Distributions", Ann. Math.
    Statist. 1959.
    """
    share = np.divide(sums**2, n * squares, out=np.zeros(np.broadcast(sums, squares, n).shape), where=squares > 0)
    rest = np.where(1 - share > _ROUNDING, 1 - share, 0.0)  # 1 / (1 + t^2 / (n - 1)) of Student's t
    freedom = np.maximum(n - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal values, and one value
        found = (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(-freedom * np.log(rest))
    return np.where((share > 0) & (n > 1), found, 0.0)


def flipped_statistics(differences: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Return the statistic of every test under every pattern of signs, shape ``[tests, flips]``.

    Args:
        differences: Shape ``[tests, n]``; NaN where a seed has no value, which then contributes nothing to that test.
        flips: Shape ``[flips, n]``.
    """
    present = np.isfinite(differences)
    values = np.where(present, differences, 0.0)
    scale = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
    values = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)  # squares must not underflow
    return deviate(values @ flips.T, np.sum(values**2, axis=1)[:, None], present.sum(axis=1)[:, None])


def at_least(statistics: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return where statistics reach the observed ones, rounding aside."""
    return statistics >= observed - _ROUNDING * np.where(np.isfinite(observed), observed, 0.0)


def flip_test(differences: np.ndarray, stream: NumpyStream) -> np.ndarray:
    """Return the two-sided p of every test by itself: the share of patterns whose statistic reaches that observed.

    Args:
        differences: As in ``westfall_young``.
        stream: Where random patterns are drawn from.

    Returns:
        Shape ``[tests]``; NaN without values.
    """
    statistics = flipped_statistics(differences, sign_flips(differences.shape[1], stream))
    p = at_least(statistics, statistics[:, :1]).mean(axis=1)
    return np.where(np.isfinite(differences).any(axis=1), p, np.nan)


def smallest_reachable(differences: np.ndarray) -> np.ndarray:
    """Return the p of every test if all its seeds that differ did so in one direction; NaN without values.

    This is also the smallest p after the correction of Westfall and Young, however many tests there are. Where patterns
    of signs are drawn, it is not below one of them.
    """
    differ = np.sum(np.isfinite(differences) & (differences != 0), axis=1)
    p = np.minimum(1.0, 2.0 / 2.0**differ)
    if differences.shape[1] > EXACT_UP_TO:
        p = np.maximum(p, 1 / (DRAWS + 1))
    return np.where(np.isfinite(differences).any(axis=1), p, np.nan)


def westfall_young(differences: np.ndarray, stream: NumpyStream, *, alpha: float = 0.05) -> np.ndarray:
    """Return the p of paired differences, adjusted so that the chance of any false finding is bounded.

    The signs of whole seeds are flipped, the same flip in all tests, which keeps how the tests depend on one another.
    In the order of their statistics (see ``deviate``) each test is compared with the largest statistic of
    those that are not above it (step-down maxT). No adjusted p is below ``2/2^n``, and that does not grow with the
    number of tests: with Holm's correction ten seeds allow 25 tests and no more.

    The level is exact where the differences of a seed have, all tests together, the same distribution with their signs
    reversed: so it is for two levels that do not differ. For three or more it needs more than that no test by itself
    differs, since the same reference is in all of them: see the page on statistics for what that costs.

    A test with so few seeds that it cannot reach ``alpha`` by itself takes no part in the family of the others, where
    its wild statistic would hide what they found; those tests are adjusted among themselves. Which they are depends on
    the sizes of the differences alone, not on their signs, so the level holds.

    Args:
        differences: Shape ``[tests, n]``, a column a seed; NaN where a seed has no value, which then contributes
            nothing to that test.
        stream: Where patterns of signs are drawn from, beyond ``EXACT_UP_TO`` seeds.
        alpha: The level at which tests are to be called significant.

    Returns:
        Shape ``[tests]``; NaN without values.

    Reference: Westfall and Young, "Resampling-Based Multiple Testing", Wiley 1993, section 2.8; Romano and Wolf, "Exact
    and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 2005.
    """
    differences = np.asarray(differences, dtype=np.float64)
    smallest = smallest_reachable(differences)
    adjusted = np.full(len(differences), np.nan)
    statistics = flipped_statistics(differences, sign_flips(differences.shape[1], stream))
    for part in (smallest <= alpha, smallest > alpha):
        if part.any():
            adjusted[part] = stepped_down(statistics[part])
    return adjusted


def stepped_down(statistics: np.ndarray) -> np.ndarray:
    """Return the p of tests, adjusted by maxT, by their statistics under each pattern, the first as observed.

    Args:
        statistics: Shape ``[tests, patterns]``; statistics of tests that differ in size must be as rare when equal.
    """
    order = np.argsort(-statistics[:, 0], kind="stable")
    rivals = np.maximum.accumulate(statistics[order[::-1]], axis=0)[::-1]
    p = at_least(rivals, statistics[order, :1]).mean(axis=1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted
