"""How large a difference a test would have found, and how many seeds it takes, by simulating the test itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from sharpscope.analysis.statistics.signed_rank import EXACT_UP_TO, null_distribution
from sharpscope.analysis.statistics.westfall_young import at_least, deviate, flipped_statistics, sign_flips
from sharpscope.numpy_stream import NumpyStream

POWER = 0.8
SIMULATIONS = 500
_LARGEST = 64.0  # standard deviations; a difference that is not found then is not found at all
_HALVINGS = 12
_FLIPS = 511  # drawn for simulations beyond ten seeds

# Values of simulated seeds, shape [simulations, n], to whether their difference is found, shape [simulations].
Decision = Callable[[np.ndarray], np.ndarray]


def simulated_flips(n: int, stream: NumpyStream) -> np.ndarray:
    """Return the patterns of signs that simulations of ``n`` seeds look at: all up to ten seeds, else some hundreds."""
    return sign_flips(n, stream, exact_up_to=10, draws=_FLIPS)


def found_by_flips(flips: np.ndarray, rivals: np.ndarray, *, alpha: float) -> Decision:
    """Return whether the correction of Westfall and Young finds a difference, beside the other tests of its family.

    Args:
        flips: Patterns of signs of the seeds, the identity first, shape ``[flips, n]``.
        rivals: The largest statistic of the tests that are corrected with it, under each pattern, shape ``[flips]``, or
            ``[simulations, flips]``; zeros where there is no other.
        alpha: The level.
    """

    def found(values: np.ndarray) -> np.ndarray:
        statistics = deviate(values @ flips.T, np.sum(values**2, axis=1)[:, None], np.array(values.shape[1]))
        return at_least(np.maximum(statistics, rivals), statistics[:, :1]).mean(axis=1) <= alpha

    return found


def found_by_signed_rank(alpha: float) -> Decision:
    """Return whether the exact signed-rank test finds a difference.

    Args:
        alpha: The level that is left to the test: of ``m`` tests with Holm's correction, that of the smallest p is
            ``0.05 / m``.
    """

    def found(values: np.ndarray) -> np.ndarray:
        n = values.shape[1]
        ranks = stats.rankdata(np.abs(values), axis=1)
        sums = np.where(values > 0, ranks, 0.0).sum(axis=1)
        smaller = np.minimum(sums, n * (n + 1) / 2 - sums)
        if n > EXACT_UP_TO:
            sd = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
            return 2 * stats.norm.cdf((smaller - n * (n + 1) / 4) / sd) <= alpha
        tails = 2 * np.cumsum(null_distribution(np.arange(1.0, n + 1)))
        return tails[np.rint(2 * smaller).astype(int)] <= alpha

    return found


def power(found: Decision, n: int, effect: float, stream: NumpyStream, *, simulations: int = SIMULATIONS) -> float:
    """Return the chance that a difference is found in ``n`` seeds whose values are normal.

    Args:
        found: The test, as it is used.
        n: How many seeds.
        effect: The difference in standard deviations of the seeds' values.
        stream: Where the values are drawn from; the same for all effects, so that more of it is found more often.
        simulations: How many studies are simulated.
    """
    return float(np.mean(found(effect + stream.child(n).numpy().standard_normal((simulations, n)))))


def detectable(
    found: Decision, n: int, stream: NumpyStream, *, least: float = POWER, simulations: int = SIMULATIONS
) -> float:
    """Return the smallest difference, in standard deviations of the seeds' values, that is found with that power.

    Args:
        found: The test, as it is used.
        n: How many seeds.
        stream: Where values are drawn from.
        least: The power that is asked for.
        simulations: How many studies are simulated.

    Returns:
        The difference to a part in a thousand or so; infinite where no difference is found in so few seeds.
    """
    if n < 2 or power(found, n, _LARGEST, stream, simulations=simulations) < least:
        return float("inf")
    low, high = 0.0, 1.0
    while power(found, n, high, stream, simulations=simulations) < least:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = power(found, n, middle, stream, simulations=simulations) >= least
        low, high = (low, middle) if enough else (middle, high)
    return high


def rivals_of(differences: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Return the largest statistic of tests under each pattern of signs, shape ``[flips]``; zeros of no tests.

    Args:
        differences: Shape ``[tests, n]``.
        flips: Shape ``[flips, n]``.
    """
    return np.max(flipped_statistics(differences, flips), axis=0, initial=0.0)


def simulated_rivals(
    differences: np.ndarray, flips: np.ndarray, stream: NumpyStream, *, simulations: int = SIMULATIONS
) -> np.ndarray:
    """Return the largest statistic of a family without effects, in studies of another number of seeds.

    The tests of the family depend on one another as they do in the study at hand.

    Args:
        differences: Of the study, shape ``[tests, seeds]``, without NaN.
        flips: Patterns of signs of as many seeds as are simulated, shape ``[flips, n]``.
        stream: Where the studies are drawn from.
        simulations: How many.

    Returns:
        Shape ``[simulations, flips]``.
    """
    centered = differences - differences.mean(axis=1, keepdims=True)
    size = np.sqrt(np.sum(centered**2, axis=1, keepdims=True))
    # Mixtures of the seeds at hand have their correlations, though there are fewer of them than tests.
    shapes = np.divide(centered, size, out=np.zeros_like(centered), where=size > 0)
    mixtures = stream.numpy().standard_normal((simulations, shapes.shape[1], flips.shape[1]))
    return np.stack([rivals_of(shapes @ mixture, flips) for mixture in mixtures])
