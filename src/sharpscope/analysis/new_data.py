"""Whether a difference is one of these test samples, or would be there with new ones too.

The tests of a study speak of new seeds on the same test set. Of a score that is a mean over test samples one can tell
more: what each of them adds is stored, and they are a choice as the seeds are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import contrast
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import study_wide, two_way
from sharpscope.analysis.tested import LEAST_SEEDS
from sharpscope.analysis.values import Values
from sharpscope.spec import changes_test_set
from sharpscope.store.record import BY_SAMPLE

# What a difference is, by whether its intervals over seeds, and over seeds and samples, exclude equality.
HOLDS, THESE_ALONE, NOT_SEEN, TOO_FEW = "with new data too", "with these data", "not seen", "too few seeds"
COLUMNS = (
    *("n", "samples", "scale", "difference", "mean_difference", "ci_low", "ci_high", "ci_level"),
    *("sd_seed", "sd_test", "sd", "new_low", "new_high", "holds"),
)


class OtherData(ValueError):
    """The runs of a study are not tested on the same samples."""


@dataclass(frozen=True)
class Samples:
    """What each test sample adds to scores, by setting, level and seed.

    Attributes:
        values: The settings, levels and seeds.
        arrays: What is stored of each run.
        unread: Why that of other runs cannot be read.
    """

    values: Values
    arrays: dict[str, dict[str, np.ndarray]]
    unread: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, results: StudyResults) -> Samples:
        """Read what is stored.

        Raises:
            OtherData: If runs were tested on different data.
        """
        varying = [key for key in results.study.get("grid", {}) if changes_test_set(key)]
        if varying:
            raise OtherData(f"{', '.join(varying)} changes the data")
        return cls(Values(results), *results.arrays(BY_SAMPLE))

    @property
    def names(self) -> list[str]:
        """The scores that have been kept by sample, in the order of display."""
        known = {name for arrays in self.arrays.values() for name in arrays}
        return [name for name in self.values.results.measured if name in known]

    @property
    def waiting(self) -> int:
        """How many runs are done of which nothing is stored yet, as of runs of an earlier version."""
        runs = self.values.results.runs
        return int((~runs.loc[runs["state"] == "done", "run_id"].isin({*self.arrays, *self.unread})).sum())

    def by_level(self, name: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each level but the reference, with what each sample adds to its difference with each seed, ``[S, N]``.

        The mean over samples is the difference of the seed, as contrasts have it. For a ratio, whose logarithm is no
        mean over samples, it is what each sample adds as far as that is linear.
        """
        values, table = self.values, self._table(name)
        scaled = values.scaled(name)
        for level in values.others:
            both = [table[:, values.levels.index(one)] for one in (level, values.results.reference)]
            means = [scaled.forward(one.mean(axis=-1)) for one in both]
            wide = study_wide(means[0] - means[1])
            complete = np.isfinite(wide.values)
            if complete.any():
                first, second = (_linear(one[wide.settings][:, complete], scaled.scale) for one in both)
                yield level, (first - second).mean(axis=0)

    def _table(self, name: str) -> np.ndarray:
        """Return a score by sample, shape ``[settings, levels, seeds, N]``; NaN where there is no run."""
        there = {run: arrays[name] for run, arrays in self.arrays.items() if name in arrays}
        sizes = {len(array) for array in there.values()}
        if len(sizes) != 1:
            raise OtherData("test sets of different sizes")
        found = np.full((*self.values.shape, sizes.pop()), np.nan)
        for place in zip(self.values.results.runs["run_id"], *self.values.places, strict=True):
            run, *at = place
            if run in there:
                found[tuple(at)] = there[run]
        return found


def _linear(table: np.ndarray, scale: str) -> np.ndarray:
    """Return what each sample adds to the mean, or to its logarithm, of scores ``[..., N]``."""
    if scale != "ratio":
        return table
    mean = table.mean(axis=-1, keepdims=True)
    return np.log(mean) + table / mean - 1


def new_data_table(results: StudyResults, samples: Samples) -> pd.DataFrame:
    """Return one row a score that is a mean over test samples, and level: its difference with new seeds and new data.

    ``difference``, ``ci_low`` and ``ci_high`` are those of the contrast, over seeds; ``new_low`` and ``new_high`` hold
    the mean difference over new seeds and new test samples. ``sd_seed``, ``sd_test`` and ``sd`` are standard errors
    over seeds, over samples and over both, of a ratio those of its logarithm. ``holds`` says which of the intervals
    exclude equality, where there are seeds enough for the former to have 95%.
    """
    return pd.DataFrame(_rows(results, samples), columns=["quantity", results.factor.name, *COLUMNS])


def _rows(results: StudyResults, samples: Samples) -> Iterator[dict[str, Any]]:
    for name in samples.names:
        for level, parts in samples.by_level(name):
            told = contrast(samples.values, name, level).tested.described(results)
            found, back = two_way(parts), samples.values.scaled(name).back
            yield {
                "quantity": name,
                results.factor.name: level,
                **{key: told[key] for key in ("scale", "difference", "ci_low", "ci_high", "ci_level")},
                "n": found.seeds,
                "samples": found.samples,
                "mean_difference": back(found.value),
                "sd_seed": found.seeds_error,
                "sd_test": found.samples_error,
                "sd": found.error,
                "new_low": back(found.interval.low),
                "new_high": back(found.interval.high),
                "holds": _holds(told, back(found.interval.low), back(found.interval.high)),
            }


def _holds(told: dict[str, Any], low: float, high: float) -> str:
    equal = 1.0 if told["scale"] == "ratio" else 0.0
    if not np.isfinite([told["ci_low"], told["ci_high"], low, high]).all():
        return ""
    if told["n"] < LEAST_SEEDS:
        return TOO_FEW
    if told["ci_low"] <= equal <= told["ci_high"]:
        return NOT_SEEN
    return THESE_ALONE if low <= equal <= high else HOLDS
