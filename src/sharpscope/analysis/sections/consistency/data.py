"""How alike the functions of runs are: within a level over seeds, and across levels with the same and other seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from sharpscope.analysis.results import StudyResults, records
from sharpscope.analysis.statistics import Interval, jackknife_values, mean_interval, study_wide
from sharpscope.analysis.statistics.labels import LabelTest, labels_differ, more_alike
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import CALIBRATED

Seeds = Literal["same", "other"]

_STREAM = NumpyStream("consistency", "bootstrap")
# Those that tell alike functions from alike accuracies, and how far probabilities are apart, come first in a matrix.
_ALIKE, _APART = ("error_consistency",), ("js_divergence", "prediction_disagreement")


class Alikeness:
    """Scores of pairs of runs by the levels of both.

    Args:
        results: What the study found.
    """

    def __init__(self, results: StudyResults) -> None:
        self.results = results
        self.values = Values(results)
        self._within: dict[str, np.ndarray] = {}
        self._between: dict[str, np.ndarray] = {}

    @cached_property
    def names(self) -> list[str]:
        """The scores of pairs that have a value, in the order of display; of twins those of the calibrated ones."""
        tables = (self.results.pairs, self.results.pairs_across)
        shown = [name for name, quantity in self.results.quantities.items() if quantity.twin in ("", CALIBRATED)]
        known = [name for name in shown if name in self.results.pairs.columns]
        return [name for name in known if any(name in t.columns and t[name].notna().any() for t in tables)]

    @property
    def below(self) -> str | None:
        """The score that stands below the diagonal of a matrix; None where the study has none that suits."""
        return next((name for name in _ALIKE if name in self.names), None)

    @property
    def above(self) -> str | None:
        """The score that stands above the diagonal of a matrix; None where the study has no other."""
        return next((name for name in (*_APART, *self.names) if name in self.names and name != self.below), None)

    def within(self, name: str, level: int) -> Interval:
        """Return the mean over pairs of seeds of one level, averaged over settings."""
        if name not in self._within:
            self._within[name] = self.values.matrices(name)
        return over_seeds(self._within[name][:, level])

    def across(self, name: str, a: int, b: int, seeds: Seeds) -> Interval:
        """Return the mean over pairs of runs of two levels with the same seed, or with other ones.

        Args:
            name: The score.
            a: The place of a level.
            b: That of another one.
            seeds: Whether both runs have the same seed.
        """
        matrices = self._across(name)[:, min(a, b), max(a, b)]
        if seeds == "same":
            return mean_interval(study_wide(np.diagonal(matrices, axis1=1, axis2=2)).values, _STREAM)
        both = np.stack([matrices, matrices.swapaxes(1, 2)])
        present = np.isfinite(both)
        symmetric = np.where(present, both, 0).sum(axis=0) / np.where(present.any(axis=0), present.sum(axis=0), np.nan)
        return over_seeds(symmetric)

    def _across(self, name: str) -> np.ndarray:
        """Return a score by setting, both levels in the order of the study, and the seed of each."""
        if name not in self._between:
            settings, levels, seeds = self.values.shape
            found = np.full((settings, levels, levels, seeds, seeds), np.nan)
            table = self.results.pairs_across
            for row in records(table[["run_a", "run_b", name]]) if name in table.columns else ():
                if row["run_a"] in self._places and row["run_b"] in self._places:
                    (setting, a, s), (_, b, t) = self._places[row["run_a"]], self._places[row["run_b"]]
                    found[(setting, a, b, s, t) if a < b else (setting, b, a, t, s)] = row[name]
            self._between[name] = found
        return self._between[name]

    def between(self, name: str) -> np.ndarray:
        """Return a score of the runs of both levels and both seeds, averaged over settings, ``[K, K, S, S]``.

        It is symmetric, and NaN where a setting lacks it.
        """
        found = self._across(name)
        found = np.where(np.isnan(found), found.transpose(0, 2, 1, 4, 3), found)
        levels = np.arange(found.shape[1])
        found[:, levels, levels] = self.values.matrices(name)
        return found.mean(axis=0)

    @cached_property
    def tests(self) -> list[tuple[str, LabelTest, LabelTest]]:
        """Of each score that has a direction, whether runs of one level are more alike, and some levels than others."""
        found = []
        for name in self.names if self.has_across else ():
            scores, better = self.between(name), self.results.quantities[name].better
            if better is not None:
                stream = _STREAM.child("labels", name)
                own = more_alike(scores, stream, larger_is_alike=better == "higher")
                found.append((name, own, labels_differ(scores, stream)))
        return found

    @cached_property
    def _places(self) -> dict[str, tuple[int, int, int]]:
        """Setting, level and seed of each run."""
        return dict(zip(self.results.runs["run_id"], zip(*self.values.places, strict=True), strict=True))

    @property
    def has_gains(self) -> bool:
        """Whether it is known what an ensemble of the seeds gains: of one seed there is none."""
        return "brier_variance" in self.names and len(self.values.seeds) > 1

    @property
    def has_across(self) -> bool:
        """Whether there are scores of pairs of different levels."""
        return not self.results.pairs_across.empty


def over_seeds(matrices: np.ndarray) -> Interval:
    """Return the mean of scores ``[settings, seeds, seeds]`` over pairs, with an interval from jackknife values."""
    found = mean_interval(study_wide(np.stack([jackknife_values(matrix) for matrix in matrices])).values, _STREAM)
    if found.n:
        return found
    # Fewer than three seeds tell a mean and nothing about its spread.
    first, second = np.triu_indices(matrices.shape[1], k=1)
    pairs = matrices[:, first, second]
    pairs = pairs[np.isfinite(pairs)]
    return Interval(len(pairs), float(pairs.mean()) if len(pairs) else float("nan"), float("nan"), float("nan"), 0.0)


@dataclass(frozen=True)
class Errors:
    """Pairs of seeds of one level by their errors.

    Attributes:
        level: The level.
        error: The mean error of both runs of each pair, shape ``[P]``.
        disagreement: The share of test samples that they put into different classes, shape ``[P]``.
    """

    level: str
    error: np.ndarray
    disagreement: np.ndarray


def errors_of(found: Alikeness) -> list[Errors]:
    """Return errors and disagreement of all pairs within levels; nothing where the study does not have both."""
    results, name = found.results, "prediction_disagreement"
    if name not in found.names or "test_accuracy" not in results.runs.columns:
        return []
    errors, disagreements = 1 - found.values.of_runs("test_accuracy"), found.values.matrices(name)
    first, second = np.triu_indices(errors.shape[2], k=1)
    listed = []
    for k, level in enumerate(found.values.levels):
        mean = (errors[:, k][:, first] + errors[:, k][:, second]) / 2
        disagreement = disagreements[:, k][:, first, second]
        there = np.isfinite(mean) & np.isfinite(disagreement)
        if there.any():
            listed.append(Errors(level, mean[there], disagreement[there]))
    return listed


def independent(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return between which disagreements two runs lie that have this error each, and err independently.

    They disagree where one of them errs alone, and where both err, they may agree on each such sample, or on none.
    """
    return 2 * error * (1 - error), 2 * error - error**2
