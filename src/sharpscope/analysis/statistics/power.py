"""How large a difference a test would have found, and how many seeds it takes, by simulating the test itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def normal_values(n: int, stream: NumpyStream, *, simulations: int = SIMULATIONS) -> np.ndarray:
    """Return the values of ``n`` seeds in simulated studies of no difference, shape ``[simulations, n]``."""
    return stream.child(n).numpy().standard_normal((simulations, n))


def power(found: Decision, values: np.ndarray, effect: float) -> float:
    """Return the chance that a difference is found.

    Args:
        found: The test, as it is used.
        values: Of seeds in simulated studies of no difference, of standard deviation 1, shape ``[simulations, n]``; the
            same for all effects, so that more of it is found more often.
        effect: The difference in standard deviations of the seeds' values.
    """
    return float(np.mean(found(effect + values)))


def detectable(found: Decision, values: np.ndarray, *, least: float = POWER, halvings: int = _HALVINGS) -> float:
    """Return the smallest difference, in standard deviations of the seeds' values, that is found with that power.

    Args:
        found: The test, as it is used.
        values: As in ``power``.
        least: The power that is asked for.
        halvings: How often the difference is halved in, which tells it to a part in two to that power.

    Returns:
        The difference; infinite where no difference is found in so few seeds.
    """
    if values.shape[1] < 2 or power(found, values, _LARGEST) < least:
        return float("inf")
    low, high = 0.0, 1.0
    while power(found, values, high) < least:
        low, high = high, 2 * high
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if power(found, values, middle) >= least else (middle, high)
    return high


def rivals_of(differences: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Return the largest statistic of tests under each pattern of signs, shape ``[flips]``; zeros of no tests.

    Args:
        differences: Shape ``[tests, n]``.
        flips: Shape ``[flips, n]``.
    """
    return np.max(flipped_statistics(differences, flips), axis=0, initial=0.0)


def simulated_family(
    differences: np.ndarray, n: int, stream: NumpyStream, *, simulations: int = SIMULATIONS
) -> np.ndarray:
    """Return the values of a family of tests without differences, in studies of another number of seeds.

    Each value is normal with standard deviation 1, and those of a seed depend on one another as they do in the study at
    hand. The correlations of few seeds scatter, which makes tests look more alike than they are; so they are drawn
    towards zero by as much as their own error asks for.

    Args:
        differences: Of the study, shape ``[tests, seeds]``, without NaN, of two seeds or more.
        n: How many seeds the simulated studies have.
        stream: Where the studies are drawn from.
        simulations: How many.

    Returns:
        Shape ``[tests, simulations, n]``.

    Reference: Schaefer & Strimmer, "A Shrinkage Approach to Large-Scale Covariance Matrix Estimation", Statistical
    Applications in Genetics and Molecular Biology 2005.
    """
    centered = differences - differences.mean(axis=1, keepdims=True)
    size = np.sqrt(np.sum(centered**2, axis=1, keepdims=True))
    # Mixtures of the seeds at hand have their correlations, though there are fewer of them than tests.
    shapes = np.divide(centered, size, out=np.zeros_like(centered), where=size > 0)
    own = _own_share(shapes)
    rng = stream.numpy()
    shared = shapes @ rng.standard_normal((shapes.shape[1], simulations * n))
    apart = rng.standard_normal((len(shapes), simulations * n))
    values = np.where(size > 0, np.sqrt(1 - own) * shared + np.sqrt(own) * apart, apart)
    return values.reshape(-1, simulations, n)


def _own_share(shapes: np.ndarray) -> float:
    """Return the share of variance that tests are taken to have for themselves, by the error of their correlations.

    Args:
        shapes: Centered values of norm 1, shape ``[tests, seeds]``.
    """
    correlations = shapes @ shapes.T
    others = correlations[~np.eye(len(shapes), dtype=bool)]
    error, size = np.sum((1 - others**2) ** 2) / max(shapes.shape[1] - 1, 1), np.sum(others**2)
    return float(min(1.0, error / size)) if size > 0 else 1.0


@dataclass(frozen=True)
class Rivals:
    """The largest statistics of simulated families under each pattern of signs, each ``[simulations, flips]``.

    Attributes:
        largest: Of all tests.
        second: Of all but the test that has the largest.
        which: The test that has the largest.
    """

    largest: np.ndarray
    second: np.ndarray
    which: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, flips: np.ndarray) -> Rivals:
        """Return them by the values of the tests, shape ``[tests, simulations, n]``, and patterns ``[flips, n]``."""
        shape = (values.shape[1], len(flips))
        largest, second, which = np.zeros(shape), np.zeros(shape), np.full(shape, -1)
        for test, of_test in enumerate(values):
            squares = np.sum(of_test**2, axis=1)[:, None]
            statistics = deviate(of_test @ flips.T, squares, np.array(of_test.shape[1]))
            above = statistics > largest
            second = np.where(above, largest, np.maximum(second, statistics))
            largest, which = np.where(above, statistics, largest), np.where(above, test, which)
        return cls(largest, second, which)

    def beside(self, test: int) -> np.ndarray:
        """Return the largest statistic of all tests but one; zeros where there is no other."""
        return np.where(self.which == test, self.second, self.largest)
