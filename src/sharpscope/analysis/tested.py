"""One difference between a level of the factor and the reference, as a row of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import benjamini_hochberg, hodges_lehmann, signed_rank_test
from sharpscope.analysis.values import Scaled

ALPHA = 0.05
LEAST_SEEDS = 6  # with fewer no pattern of signs is rare enough, and no interval has 95%
EQUIVALENCE_LEVEL = 0.90  # two one-sided tests at 5%

PRIMARY, SECONDARY = "primary", "secondary"
REPEATED = "same runs"  # no test of its own: the level has the runs of another one, which is tested

BY_SEED = "paired by seed"
BY_JACKKNIFE = "jackknife values of pairs"

ADJUSTED_COLUMNS = ("correction", "p_adjusted", "p_adjusted_smallest", "significant")
COLUMNS = (
    *("reference", "n", "zeros", "scale", "difference", "ci_low", "ci_high", "ci_level"),
    *("mean_difference", "effect", "verdict"),
    *("p", "p_smallest", "family", *ADJUSTED_COLUMNS),
    "method",
)


@dataclass(frozen=True)
class Tested:
    """The differences of one quantity and level, as they enter a test.

    Attributes:
        quantity: The column.
        level: The level of the factor.
        scaled: How its values are compared.
        values: Level minus reference on that scale, shape ``[seeds]``; NaN where a seed has none.
    """

    quantity: str
    level: str
    scaled: Scaled
    values: np.ndarray

    def described(self, results: StudyResults) -> dict[str, Any]:
        """Return what one row of a table says of it, but for what depends on the other tests of its family."""
        quantity, nothing = results.quantities[self.quantity], np.zeros(len(self.values))
        interval = hodges_lehmann(self.values, nothing)
        test = signed_rank_test(self.values, nothing)
        back, present = self.scaled.back, self.values[np.isfinite(self.values)]
        return {
            "quantity": self.quantity,
            "kind": quantity.kind,
            results.factor.name: self.level,
            "reference": results.reference,
            "n": test.n,
            "zeros": test.zeros,
            "scale": self.scaled.scale,
            "difference": back(interval.value),
            "ci_low": back(interval.low),
            "ci_high": back(interval.high),
            "ci_level": interval.level,
            "mean_difference": back(present.mean()) if test.n else np.nan,
            "effect": test.effect,
            "verdict": quantity.verdict(test.effect) if test.n else "",
            "p": test.p,
            "p_smallest": test.smallest_p,
            "family": PRIMARY if self.quantity in results.primary else SECONDARY,
            "method": BY_JACKKNIFE if self.quantity in results.of_pairs else BY_SEED,
        }


def equivalent(differences: np.ndarray, scaled: Scaled, margin: float | None) -> bool | None:
    """Return whether a difference is smaller than a margin on the scale as told; None where that is not asked.

    It is taken to be so if two one-sided tests at 5% exclude the margin on both sides: if the interval at 90% lies
    inside.

    Args:
        differences: One a seed, on the scale on which they are compared, shape ``[seeds]``; NaN where a seed has none.
        scaled: How values are compared.
        margin: The smallest difference that matters: a factor above 1 where they are compared by their ratio.
    """
    if margin is None or not np.isfinite(differences).any():
        return None
    if scaled.scale == "ratio":
        margin = math.log(margin)
    elif scaled.not_positive:
        return None  # the margin is a factor, and the values allow none
    found = hodges_lehmann(differences, np.zeros(len(differences)), level=EQUIVALENCE_LEVEL)
    return bool(found.level >= EQUIVALENCE_LEVEL - 1e-9 and -margin < found.low and found.high < margin)


def adjusted(table: pd.DataFrame, correction: str, p: np.ndarray, smallest: np.ndarray) -> pd.DataFrame:
    """Return the tests of one family with what depends on the others.

    Args:
        table: The tests.
        correction: Its name.
        p: The adjusted p of each row.
        smallest: The smallest adjusted p that each row could reach.
    """
    return table.assign(correction=correction, p_adjusted=p, p_adjusted_smallest=smallest, significant=p <= ALPHA)


def one_way(table: pd.DataFrame) -> np.ndarray:
    """Return where the mean of differences goes the way of most of their ranks, which is the verdict's.

    A test of the mean that finds what a few seeds far off make of it says nothing of the way that the others go.

    Args:
        table: Tests with their ``mean_difference``, ``scale`` and ``effect``.
    """
    same = np.where(table["scale"] == "ratio", 1.0, 0.0)
    return np.asarray((table["mean_difference"].to_numpy(float) - same) * table["effect"].to_numpy(float) > 0)


def untested(table: pd.DataFrame) -> pd.DataFrame:
    """Return differences that are no tests, and so are not significant."""
    return adjusted(table, "", table["p"].to_numpy(float), table["p_smallest"].to_numpy(float)).assign(
        significant=False
    )


def repeat(table: pd.DataFrame, factor: str, same: Mapping[str, str]) -> pd.DataFrame:
    """Return a table in which levels that have the runs of another one have its numbers.

    The rows of each level are in one order. Those of levels that have the runs of the reference stay as they are: all
    differences are zero, and nothing is tested.

    Args:
        table: A row for each level and whatever else.
        factor: The column of levels.
        same: The levels that have the runs of another one, each with that.
    """
    table = table.copy()
    kept = [column for column in table.columns if column not in (factor, "family", "same_as")]
    for level, first in same.items():
        rows, source = table[factor] == level, table[factor] == first
        for column in kept if source.any() else ():
            table.loc[rows, column] = table.loc[source, column].to_numpy()
    return table


def by_benjamini_hochberg(table: pd.DataFrame) -> pd.DataFrame:
    """Return tests that are corrected as one family by Benjamini and Hochberg."""
    p, smallest = (benjamini_hochberg(table[column].to_numpy(float)) for column in ("p", "p_smallest"))
    return adjusted(table, "Benjamini-Hochberg", p, smallest)
