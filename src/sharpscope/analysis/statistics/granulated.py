"""What a measure says of pairs of runs that differ in one thing alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.sign_test import sign_test

ALPHA = 0.05


@dataclass(frozen=True)
class Granulated:
    """Kendall's coefficient over groups of runs that differ in one axis of the grid.

    Attributes:
        seeds: The seeds.
        of_axis: The mean over the groups of one axis and seed, shape ``[seeds, axes]``; NaN where there is none.
    """

    seeds: np.ndarray
    of_axis: np.ndarray

    @property
    def psi(self) -> np.ndarray:
        """The mean over axes of each seed, shape ``[seeds]``; NaN where an axis has no group."""
        return self.of_axis.mean(axis=1) if self.of_axis.shape[1] else np.full(len(self.seeds), np.nan)


@dataclass(frozen=True)
class SignError:
    """How often a measure and an outcome move in opposite directions between two cells that differ in one axis.

    Attributes:
        pairs: How many pairs of cells count: those whose outcomes differ beyond the luck of the seeds.
        greatest: The share of seeds in the worst pair, which no mean over pairs hides; NaN without pairs.
        mean: The mean share over pairs.
        quartiles: Of the shares over pairs.
    """

    pairs: int
    greatest: float
    mean: float
    quartiles: tuple[float, float, float]


def granulated_kendall(x: np.ndarray, y: np.ndarray, seeds: np.ndarray, axes: np.ndarray) -> Granulated:
    """Return Kendall's coefficient of a measure and an outcome, one axis of the grid after the other.

    A measure that only tells one axis has a high coefficient over all runs and none along the others.

    Args:
        x: The measure, shape ``[runs]``; runs with a NaN are left out.
        y: The outcome, shape ``[runs]``.
        seeds: The seed of each run, shape ``[runs]``.
        axes: The value of each axis as a number, shape ``[runs, axes]``; groups differ in one of them, and share all
            others and the seed.

    Reference: Jiang et al., "Fantastic Generalization Measures and Where to Find Them", ICLR 2020, section 5.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y, seeds, axes = x[keep], y[keep], seeds[keep], axes[keep]
    units, unit_of_run = np.unique(seeds, return_inverse=True)
    found = np.full((len(units), axes.shape[1]), np.nan)
    for axis in range(axes.shape[1]):
        others = np.column_stack([unit_of_run, np.delete(axes, axis, axis=1)])
        groups, group_of_run = np.unique(others, axis=0, return_inverse=True)
        taus: dict[int, list[float]] = {}
        for group, (unit, *_) in enumerate(groups):
            rows = np.flatnonzero(group_of_run.ravel() == group)
            if len(rows) > 1:
                first, second = np.triu_indices(len(rows), 1)
                same = np.sign(x[rows[first]] - x[rows[second]]) * np.sign(y[rows[first]] - y[rows[second]])
                taus.setdefault(int(unit), []).append(float(same.mean()))
        for unit, values in taus.items():
            found[unit, axis] = np.mean(values)
    return Granulated(units, found)


def sign_error(x: np.ndarray, y: np.ndarray, axes: np.ndarray) -> SignError:
    """Return how often the sign of a measure's difference is wrong for that of an outcome.

    A pair of cells counts if the outcome differs by an exact sign test over seeds: of one that does not, no sign is
    right. Seeds in which one of the two does not differ count half.

    Args:
        x: The measure, shape ``[cells, seeds]``; NaN where there is no run.
        y: The outcome, shape ``[cells, seeds]``.
        axes: The value of each axis as a number, shape ``[cells, axes]``.

    Reference: Dziugaite et al., "In Search of Robust Measures of Generalization", NeurIPS 2020. There, a pair is
    weighed by how surely its outcomes differ; here it counts or does not.
    """
    first, second = np.triu_indices(len(axes), 1)
    one_apart = np.sum(axes[first] != axes[second], axis=1) == 1
    first, second = first[one_apart], second[one_apart]
    of_x, of_y = x[first] - x[second], y[first] - y[second]
    both = np.isfinite(of_x) & np.isfinite(of_y)
    real = sign_test(np.where(both, of_y, np.nan)).p <= ALPHA
    if not real.any():
        return SignError(0, float("nan"), float("nan"), (float("nan"),) * 3)
    wrong = np.where(both, (1 - np.sign(of_x) * np.sign(of_y)) / 2, 0.0)[real].sum(axis=1) / both[real].sum(axis=1)
    low, median, high = (float(q) for q in np.quantile(wrong, [0.25, 0.5, 0.75]))
    return SignError(int(real.sum()), float(wrong.max()), float(wrong.mean()), (low, median, high))
