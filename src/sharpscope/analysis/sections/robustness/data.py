"""Accuracies of a study under conditions as arrays, and how each level differs from the reference there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sharpscope.analysis.conditions import CLEAN
from sharpscope.analysis.results import StudyResults, records
from sharpscope.analysis.statistics import Interval, hodges_lehmann, mean_interval, study_wide
from sharpscope.analysis.values import Values
from sharpscope.condition import Case
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream("robustness", "bootstrap")
_CASE = ["condition", "severity", "kind", "family"]


@dataclass(frozen=True)
class Accuracies:
    """Accuracies by setting, level, seed and case; NaN where there is no run.

    Attributes:
        values: The settings, levels and seeds.
        cases: The cases of conditions: those of one condition lie together, from slight to severe.
        under: Shape ``[settings, levels, seeds, cases]``.
        clean: Without a condition, shape ``[settings, levels, seeds]``.
        like: Of each level and case, whether its runs were trained on images that are altered in a like way, shape
            ``[levels, cases]``.
        samples: Of the test set; of the smallest one where there are several.
    """

    values: Values
    cases: list[Case]
    under: np.ndarray
    clean: np.ndarray
    like: np.ndarray
    samples: int

    @classmethod
    def of(cls, results: StudyResults) -> Accuracies | None:
        """Return the accuracies of a study; None where no run has any under a condition."""
        table = results.conditions
        if table.empty or (table["kind"] == CLEAN).all():
            return None
        values = Values(results)
        runs = pd.Index(results.runs["run_id"])
        table = table[table["run_id"].isin(set(runs))]
        altered, plain = table[table["kind"] != CLEAN], table[table["kind"] == CLEAN]
        listed = altered[_CASE].drop_duplicates().sort_values(["kind", "family", "condition"], kind="stable")
        of_case = pd.MultiIndex.from_frame(listed).get_indexer(pd.MultiIndex.from_frame(altered[_CASE]))
        setting, level, seed = (place[runs.get_indexer(pd.Index(altered["run_id"]))] for place in values.places)
        under, clean = np.full((*values.shape, len(listed)), np.nan), np.full(values.shape, np.nan)
        under[setting, level, seed, of_case] = altered["accuracy"]
        like = np.zeros((len(values.levels), len(listed)), dtype=bool)
        alike = altered["like"].to_numpy(bool)
        like[level[alike], of_case[alike]] = True
        clean[tuple(place[runs.get_indexer(pd.Index(plain["run_id"]))] for place in values.places)] = plain["accuracy"]
        cases = [Case(**row) for row in records(listed)]
        return cls(values, cases, under, clean, like, int(table["samples"].min()))

    @cached_property
    def corruptions(self) -> dict[str, list[int]]:
        """The places of the cases of each corruption; corruptions of one family lie together."""
        found: dict[str, list[int]] = {}
        for index, case in enumerate(self.cases):
            if case.kind == "inputs":
                found.setdefault(case.condition, []).append(index)
        return found

    def family(self, corruption: str) -> str:
        """Return the family of a corruption; its own name where it has none."""
        return self.cases[self.corruptions[corruption][0]].family or corruption

    @cached_property
    def reference(self) -> int | None:
        """The place of the reference among the levels; None where it has no run."""
        levels, reference = self.values.levels, self.values.results.reference
        return levels.index(reference) if reference in levels else None

    def alike(self, level: int) -> list[str]:
        """Return the corruptions that a level, or the reference, was trained on the like of."""
        levels = [level, *([] if self.reference is None else [self.reference])]
        return [name for name, places in self.corruptions.items() if self.like[np.ix_(levels, places)].any()]

    def compared(self, level: int) -> list[str]:
        """Return the corruptions that a level is compared by: those that no like of was trained on."""
        alike = self.alike(level)
        return [name for name in self.corruptions if name not in alike]

    @cached_property
    def offered(self) -> np.ndarray:
        """Whether the data of a setting come under a case, which some run of it has then, ``[settings, cases]``."""
        return np.isfinite(self.under).any(axis=(1, 2))

    def has(self, corruptions: list[str]) -> np.ndarray:
        """Return whether the data of a setting come under a corruption, shape ``[settings, corruptions]``."""
        return self.offered[:, [self.corruptions[name][0] for name in corruptions]]

    def by_corruption(self, level: int, corruptions: list[str]) -> np.ndarray:
        """Return accuracies averaged over severities, shape ``[settings, seeds, corruptions]``."""
        found = [self.under[:, level][..., self.corruptions[name]].mean(axis=-1) for name in corruptions]
        return np.stack(found, axis=-1) if found else np.empty((*self.clean[:, level].shape, 0))

    def over_corruptions(self, level: int, corruptions: list[str]) -> np.ndarray:
        """Return accuracies averaged over severities, and over those of some corruptions that a setting's data have.

        Returns:
            Shape ``[settings, seeds]``; NaN where a run lacks one of these, and where there are none.
        """
        return _mean_of_offered(self.by_corruption(level, corruptions), self.has(corruptions))

    def of_seeds(self, level: int, cases: list[int]) -> np.ndarray:
        """Return accuracies averaged over the cases of each setting, and over settings, one a seed, ``[seeds]``."""
        return study_wide(_mean_of_offered(self.under[:, level][..., cases], self.offered[:, cases])).values

    def difference(self, level: int, case: int) -> Interval:
        """Return how far a level is above the reference in a case, in differences within seeds."""
        return self.contrast(level, self.under[..., case])

    def contrast(self, level: int, accuracies: np.ndarray) -> Interval:
        """Return how far a level is above the reference, of accuracies ``[settings, levels, seeds]``."""
        if self.reference is None:
            raise ValueError("a contrast needs runs of the reference")
        seeds = study_wide(accuracies[:, level] - accuracies[:, self.reference]).values
        return hodges_lehmann(seeds, np.zeros(len(seeds)))


def _mean_of_offered(values: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Return the means ``[settings, seeds]`` of values ``[settings, seeds, K]`` over those that a setting has."""
    counts = offered.sum(axis=-1)[:, None]
    return np.where(offered[:, None], values, 0.0).sum(axis=-1) / np.where(counts > 0, counts, np.nan)


@dataclass(frozen=True)
class Line:
    """Accuracies of a level along the severities of a family of conditions.

    Attributes:
        level: The level.
        points: The mean over seeds with its interval, first without a condition, then by severity.
    """

    level: str
    points: list[Interval]


@dataclass(frozen=True)
class Course:
    """How accuracies fall along the severities of a family of conditions.

    Attributes:
        family: Its name.
        kind: What its conditions alter.
        severities: From slight to severe.
        lines: One a level.
    """

    family: str
    kind: str
    severities: list[int]
    lines: list[Line]


def courses(found: Accuracies) -> list[Course]:
    """Return how accuracies fall along the severities of each family of conditions, whatever they alter."""
    families: dict[tuple[str, str], list[int]] = {}
    for index, case in enumerate(found.cases):
        families.setdefault((case.kind, case.family or case.condition), []).append(index)
    result = []
    for (kind, family), places in families.items():
        steps: dict[int, list[int]] = {}
        for place in places:
            steps.setdefault(found.cases[place].severity, []).append(place)
        lines = [
            Line(
                level,
                [_mean(study_wide(found.clean[:, k]).values), *(_mean(found.of_seeds(k, s)) for s in steps.values())],
            )
            for k, level in enumerate(found.values.levels)
        ]
        result.append(Course(family, kind, list(steps), lines))
    return sorted(result, key=lambda course: course.kind != "inputs")


def _mean(values: np.ndarray) -> Interval:
    return mean_interval(values, STREAM)
