"""Errors under corruption beside those of a reference, and accuracy under corruption beside the clean one.

Numbers of this kind are comparable within a study. The severities of generated corruptions are not those of published
suites, so they are never to be set beside published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from sharpscope.analysis.statistics.interval import LEVEL

# Runs that the line of clean against corrupted accuracies is fitted to, at least.
LEAST_RUNS = 20


@dataclass(frozen=True)
class RelativeErrors:
    """Errors under corruptions as multiples of the reference's.

    Attributes:
        values: One a seed, averaged over corruptions, shape ``[S]``; NaN where none is left.
        by_corruption: Shape ``[S, K]``; NaN for corruptions that are left out.
        left_out: The indices of these: their denominator is 0, or cannot be told from it.
    """

    values: np.ndarray
    by_corruption: np.ndarray
    left_out: tuple[int, ...]


def corruption_errors(errors: np.ndarray, reference: np.ndarray) -> RelativeErrors:
    r"""Return the mean corruption error of each seed: how much more is got wrong than by the reference.

    .. math:: \mathrm{mCE}_s = \frac1K \sum_k \frac{\sum_v E_{skv}}{\frac1S \sum_{s'} \sum_v E^{ref}_{s'kv}}

    The denominators are means over seeds: one seed's own may be near 0. So the values of seeds keep one scale. A
    corruption under which the reference makes no error at all is left out, and told.

    Args:
        errors: Of the runs, by seed, corruption and severity, shape ``[S, K, V]``, fractions.
        reference: Of the reference with the same seeds, of the same shape.

    Reference: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019.
    """
    denominators = reference.sum(axis=2)
    return _multiples(errors.sum(axis=2), denominators, (denominators > 0).any(axis=0))


def relative_corruption_errors(
    errors: np.ndarray,
    clean: np.ndarray,
    reference: np.ndarray,
    clean_reference: np.ndarray,
    *,
    level: float = LEVEL,
) -> RelativeErrors:
    """Return the relative mean corruption error of each seed: how much more it loses by corruption than the reference.

    As ``corruption_errors``, of errors beyond the clean one. Where the reference itself loses nothing that can be told
    from 0 by a corruption, that one is left out, and told.

    Args:
        errors: As of ``corruption_errors``.
        clean: On the clean test set, shape ``[S]``.
        reference: As of ``corruption_errors``.
        clean_reference: Of the reference on the clean test set, shape ``[S]``.
        level: Of the interval by which a denominator is judged, which may be of either sign.
    """
    beyond, denominators = (
        (e - c[:, None, None]).sum(axis=2) for e, c in ((errors, clean), (reference, clean_reference))
    )
    seeds, mean = len(denominators), denominators.mean(axis=0)
    spread = denominators.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(len(mean), np.inf)
    return _multiples(beyond, denominators, np.abs(mean) > spread * student.ppf((1 + level) / 2, max(1, seeds - 1)))


def _multiples(numerators: np.ndarray, denominators: np.ndarray, kept: np.ndarray) -> RelativeErrors:
    """Return numerators ``[S, K]`` by the means of denominators over seeds, of the corruptions ``[K]`` to be kept."""
    multiples = np.full(numerators.shape, np.nan)
    multiples[:, kept] = numerators[:, kept] / denominators[:, kept].mean(axis=0)
    values = multiples[:, kept].mean(axis=1) if kept.any() else np.full(len(numerators), np.nan)
    return RelativeErrors(values, multiples, tuple(int(k) for k in np.flatnonzero(~kept)))


@dataclass(frozen=True)
class EffectiveRobustness:
    """How far accuracies under corruption lie above what clean accuracies let expect.

    Attributes:
        values: One a run, as fractions, shape ``[N]``; NaN where there are too few runs, or their clean accuracies are
            all the same.
        slope: Of the line, on the logit scale.
        intercept: Of the line.
        reason: Why there are none; empty where there are.
    """

    values: np.ndarray
    slope: float = float("nan")
    intercept: float = float("nan")
    reason: str = ""


def effective_robustness(clean: np.ndarray, corrupted: np.ndarray, *, samples: int) -> EffectiveRobustness:
    """Return the accuracy under corruption beyond the one that runs of the same clean accuracy have.

    The latter is a line through all runs on the logit scale, where accuracies of very different models fall on lines.

    Args:
        clean: Accuracies on the clean test set, shape ``[N]``.
        corrupted: Accuracies under corruption of the same runs, shape ``[N]``.
        samples: Of the test set. Accuracies of 0 and of 1 count as half a sample away from these.

    Reference: Taori et al., "Measuring Robustness to Natural Distribution Shifts in Image Classification", NeurIPS
    2020.
    """
    none = np.full(len(clean), np.nan)
    if len(clean) < LEAST_RUNS:
        return EffectiveRobustness(none, reason=f"a line needs {LEAST_RUNS} runs, and there are {len(clean)}")
    inside = (0.5 / samples, 1 - 0.5 / samples)
    x, y = (logit(np.clip(accuracies, *inside)) for accuracies in (clean, corrupted))
    if np.ptp(x) == 0:
        return EffectiveRobustness(none, reason="all runs have one clean accuracy")
    slope, intercept = np.polyfit(x, y, 1)
    return EffectiveRobustness(corrupted - expit(intercept + slope * x), float(slope), float(intercept))
