"""The values of a study in the order of its grid, and how each level differs from the reference seed by seed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import jackknife_values, paired_differences


@dataclass(frozen=True)
class Scaled:
    """How values of a quantity are compared in a study.

    Attributes:
        scale: By their ratio or by their difference.
        not_positive: How many values are not above zero, for which ratios were given up; 0 where none was in the way.
        values: How many there are, where ratios were given up.
    """

    scale: Literal["ratio", "difference"]
    not_positive: int = 0
    values: int = 0

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return values on the scale on which they are subtracted: their logarithms, or as they are."""
        return np.log(values) if self.scale == "ratio" else values

    def back(self, difference: float) -> float:
        """Return a difference as it is told: as a factor, or as it is."""
        return float(np.exp(difference)) if self.scale == "ratio" else float(difference)


class Values:
    """The numbers of a study as arrays over settings, levels and seeds; NaN where there is no run, or no number.

    Args:
        results: What the study found.

    Attributes:
        settings: The combinations of all keys but factor and seed, in the order of ``StudyResults.groups``.
        levels: The levels of the factor, in the order of the study.
        seeds: The seeds in order.
    """

    def __init__(self, results: StudyResults) -> None:
        self.results = results
        self.settings: list[dict[str, Any]] = [group for group, _ in results.groups]
        self.levels = results.levels
        self.seeds: list[int] = sorted(results.runs["seed"].unique())

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many settings, levels and seeds there are."""
        return len(self.settings), len(self.levels), len(self.seeds)

    @property
    def others(self) -> list[str]:
        """The levels beside the reference; none where the reference has no run."""
        reference = self.results.reference
        return [level for level in self.levels if level != reference] if reference in self.levels else []

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Setting, level and seed of each row of ``StudyResults.runs``, as indices."""
        runs = self.results.runs
        levels = pd.Index(self.levels).get_indexer(pd.Index(runs[self.results.factor.name]))
        return self._setting_of(runs), levels, pd.Index(self.seeds).get_indexer(pd.Index(runs["seed"]))

    def _setting_of(self, table: pd.DataFrame) -> np.ndarray:
        keys = self.results.keys
        if not keys:
            return np.zeros(len(table), dtype=np.int64)
        index = {_hashable(group.values()): i for i, group in enumerate(self.settings)}
        return np.array([index.get(_hashable(row), -1) for row in table[keys].itertuples(index=False)], dtype=np.int64)

    def of_runs(self, name: str) -> np.ndarray:
        """Return a column of the ledger, shape ``[settings, levels, seeds]``."""
        found = np.full(self.shape, np.nan)
        found[self.places] = self.results.runs[name].to_numpy(float)
        return found

    def matrices(self, name: str) -> np.ndarray:
        """Return a score of pairs of runs as symmetric matrices, shape ``[settings, levels, seeds, seeds]``."""
        pairs = self.results.pairs_compared.dropna(subset=[name])
        found = np.full((*self.shape, len(self.seeds)), np.nan)
        settings, levels = (
            self._setting_of(pairs),
            pd.Index(self.levels).get_indexer(pd.Index(pairs[self.results.factor.name])),
        )
        a, b = (pd.Index(self.seeds).get_indexer(pd.Index(pairs[column])) for column in ("seed_a", "seed_b"))
        known = (settings >= 0) & (levels >= 0) & (a >= 0) & (b >= 0)
        s, k, a, b = settings[known], levels[known], a[known], b[known]
        found[s, k, a, b] = found[s, k, b, a] = pairs[name].to_numpy(float)[known]
        return found

    def independent(self, name: str) -> np.ndarray:
        """Return one independent value a seed, shape ``[settings, levels, seeds]``: of pairs, jackknife values."""
        if name not in self.results.of_pairs:
            return self.of_runs(name)
        matrices = self.matrices(name)
        found = np.full(self.shape, np.nan)
        for place in np.ndindex(self.shape[:2]):
            found[place] = jackknife_values(matrices[place])
        return found

    def paired(self, name: str, level: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a level and those of the reference, each ``[settings, seeds]``, NaN where one lacks.

        Of a score of pairs they are jackknife values of the pairs that both have.
        """
        k, r = self.levels.index(level), self.levels.index(self.results.reference)
        if name not in self.results.of_pairs:
            values = self.of_runs(name)
            first, second = values[:, k], values[:, r]
        else:
            matrices = self.matrices(name)
            first, second = np.full((2, self.shape[0], self.shape[2]), np.nan)
            for setting, of_setting in enumerate(matrices):
                lacking = np.isnan(of_setting[k]) | np.isnan(of_setting[r])
                for values, matrix in ((first, of_setting[k]), (second, of_setting[r])):
                    values[setting] = jackknife_values(np.where(lacking, np.nan, matrix))
        both = np.isfinite(first) & np.isfinite(second)
        return np.where(both, first, np.nan), np.where(both, second, np.nan)

    def scaled(self, name: str) -> Scaled:
        """Return how a quantity is compared: by ratios if it is declared so, and all of its values are positive."""
        if self.results.quantities[name].scale != "ratio":
            return Scaled("difference")
        values = self.results.runs[name].to_numpy(float)
        present = values[np.isfinite(values)]
        not_positive = int(np.sum(present <= 0))
        return Scaled("difference", not_positive, len(present)) if not_positive else Scaled("ratio")

    def alike(self, name: str, other: str) -> Scaled:
        """Return how a quantity is compared beside another column of it: by differences where either gives up ratios.

        Factors and differences cannot stand beside one another, as what is left of one.
        """
        own, beside = self.scaled(name), self.scaled(other)
        return beside if beside.not_positive and not own.not_positive else own

    def differences(self, name: str, level: str, scaled: Scaled | None = None) -> np.ndarray:
        """Return level minus reference on a scale, shape ``[settings, seeds]``; NaN where one lacks.

        Differences that are equal but for rounding are made equal in each setting.

        Args:
            name: The column.
            level: The level.
            scaled: The scale; that of the quantity where it is None.
        """
        scaled = scaled or self.scaled(name)
        first, second = (scaled.forward(values) for values in self.paired(name, level))
        found = np.full(first.shape, np.nan)
        for setting, (x, y) in enumerate(zip(first, second, strict=True)):
            both = np.isfinite(x)
            found[setting, both] = paired_differences(x, y)
        return found


def _hashable(values: Iterable[Any]) -> tuple[Hashable, ...]:
    """Return values as a key, in which all missing ones are the same."""
    return tuple(None if pd.isna(value) else value for value in values)
