"""The spread of predictions over seeds: the variance of the Brier score, which is what an ensemble gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BrierVariance:
    """The Brier score of runs that differ in their seed, in two parts.

    Attributes:
        mean: The Brier score of a run, averaged over seeds.
        ensemble: That of the mean of their probabilities.
        variance: Squared distance of a run's probabilities from that mean, averaged over seeds and samples: what the
            ensemble gains, ``mean - ensemble``, exactly.
        unbiased: The variance over seeds as an unbiased estimate of that over all seeds; NaN for one seed.
    """

    mean: float
    ensemble: float
    variance: float
    unbiased: float

    @property
    def gain(self) -> float:
        """How much lower the Brier score of the ensemble is than that of a run."""
        return self.mean - self.ensemble


def brier_variance(probabilities: np.ndarray, targets: np.ndarray) -> BrierVariance:
    """Return the Brier score of runs of several seeds and its variance over them.

    Args:
        probabilities: Of each seed, sample and class, shape ``[S, N, C]``.
        targets: Class indices, shape ``[N]``.

    Reference: Wood et al., "A Unified Theory of Diversity in Ensemble Learning", JMLR 2023, for the squared loss the
    ambiguity decomposition of Krogh & Vedelsby 1994.
    """
    probabilities = probabilities.astype(np.float64)
    truth = np.eye(probabilities.shape[2])[targets]
    center = probabilities.mean(axis=0)
    seeds = len(probabilities)
    variance = _squared(probabilities - center)
    return BrierVariance(
        mean=_squared(probabilities - truth),
        ensemble=_squared(center - truth),
        variance=variance,
        unbiased=variance * seeds / (seeds - 1) if seeds > 1 else float("nan"),
    )


def _squared(differences: np.ndarray) -> float:
    """Return the squared length of differences of probabilities, averaged over all else."""
    return float((differences**2).sum(axis=-1).mean())
