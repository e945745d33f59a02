"""What each level of the factor is like, and how it differs from the reference: tidy tables with tests and intervals.

Levels are compared within each group (combination of the varying keys other than factor and seed), seed by seed, and
each group has families of tests of its own: the primary one is the study's declared quantities by its levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults, select
from sharpscope.analysis.statistics import (
    Interval,
    benjamini_hochberg,
    hodges_lehmann,
    holm,
    jackknife_values,
    mean_interval,
    signed_rank_test,
)
from sharpscope.analysis.statistics.corrections import Correction
from sharpscope.numpy_stream import NumpyStream

ALPHA = 0.05

PRIMARY, SECONDARY = "primary", "secondary"
CORRECTIONS: dict[str, tuple[str, Correction]] = {
    PRIMARY: ("Holm", holm),
    SECONDARY: ("Benjamini-Hochberg", benjamini_hochberg),
}

BY_SEED = "paired by seed"
BY_JACKKNIFE = "jackknife values of pairs"

# All means see the same resamples of seeds, so their intervals are comparable.
_STREAM = NumpyStream(0, "analysis", "mean")


@dataclass(frozen=True)
class Sample:
    """The values of one quantity in one cell, as they enter tests.

    Attributes:
        values: One independent value a seed, indexed by seed.
        matrix: For a score of pairs, the symmetric matrix over seeds; else None.
    """

    values: pd.Series
    matrix: pd.DataFrame | None = None

    def minus(self, other: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of both over the seeds that both have."""
        if self.matrix is None or other.matrix is None:
            seeds = self.values.index.intersection(other.values.index)
            return self.values.loc[seeds].to_numpy(float), other.values.loc[seeds].to_numpy(float)
        seeds = self.matrix.index.intersection(other.matrix.index)
        first, second = (m.loc[seeds, seeds].to_numpy(float) for m in (self.matrix, other.matrix))
        return jackknife_values(first), jackknife_values(second)


def sample(results: StudyResults, group: dict[str, Any], level: str, quantity: str) -> Sample:
    """Return the values of a quantity in one cell; runs without it are left out."""
    cell = {**group, results.factor.name: level}
    if quantity in results.of_pairs:
        matrix = _pair_matrix(select(results.pairs_compared, cell), quantity)
        return Sample(pd.Series(jackknife_values(matrix.to_numpy(float)), index=matrix.index), matrix)
    runs = select(results.runs, cell)
    return Sample(runs.set_index("seed")[quantity].astype(float).dropna())


def _pair_matrix(pairs: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return the symmetric matrix of a score of pairs over seeds."""
    pairs = pairs.dropna(subset=[quantity])
    seeds = sorted({*pairs["seed_a"], *pairs["seed_b"]})
    index = pd.Index(seeds)
    a, b = index.get_indexer(pairs["seed_a"]), index.get_indexer(pairs["seed_b"])
    matrix = np.full((len(seeds), len(seeds)), np.nan)
    matrix[a, b] = matrix[b, a] = pairs[quantity].to_numpy(float)
    return pd.DataFrame(matrix, index=index, columns=index)


def levels_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a group, quantity and level: n, mean, sd and the interval of the mean.

    ``n`` counts seeds, ``unconverged`` those of them whose value did not reach its precision; the sd is over runs (for
    a score of pairs, over the means of the runs' pairs).
    """
    rows = []
    factor = results.factor.name
    for group, runs in results.groups():
        for name in results.measured:
            for level in results.levels:
                of_run = runs.loc[runs[factor] == level, name].astype(float).dropna()
                interval = _mean(results, group, level, name)
                rows.append(
                    {
                        **group,
                        "quantity": name,
                        "kind": results.quantities[name].kind,
                        factor: level,
                        "n": len(of_run),
                        "mean": interval.value,
                        "sd": of_run.std(ddof=1) if len(of_run) > 1 else np.nan,
                        "ci_low": interval.low,
                        "ci_high": interval.high,
                        "unconverged": int(results.unconverged(name)[of_run.index].sum()),
                    }
                )
    columns = [*results.keys, "quantity", "kind", factor, "n", "mean", "sd", "ci_low", "ci_high", "unconverged"]
    return pd.DataFrame(rows, columns=columns)


def _mean(results: StudyResults, group: dict[str, Any], level: str, quantity: str) -> Interval:
    cell = sample(results, group, level, quantity)
    interval = mean_interval(cell.values.to_numpy(float), _STREAM)
    if cell.matrix is None or interval.n:
        return interval
    # Two seeds have one pair: its value stands, without an interval.
    pairs = cell.matrix.to_numpy(float)[np.triu_indices(len(cell.matrix), 1)]
    return Interval(0, float(pairs.mean()) if len(pairs) else float("nan"), float("nan"), float("nan"), 0.0)


def comparisons_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a group, quantity and level other than the reference: the difference and whether it is real.

    Columns: ``n`` pairs of seeds, of which ``zeros`` do not differ; ``difference`` (Hodges-Lehmann estimate of the
    paired differences, level minus reference) with the interval that inverts the test and its ``ci_level``;
    ``mean_difference``, which a single seed can carry away; ``effect`` (matched-pairs rank-biserial) and ``verdict``,
    its direction in words; two-sided exact ``p``, adjusted within ``family`` by ``correction``; the smallest p-values
    that could be reached; ``method``: what entered the test.
    """
    others = [level for level in results.levels if level != results.reference]
    rows = [
        {**group, **_compare(results, group, level, name)}
        for group, _ in results.groups()
        for name in results.measured
        for level in others
    ]
    columns = [*results.keys, "quantity", "kind", results.factor.name, *_COMPARISON_COLUMNS]
    table = pd.DataFrame(rows, columns=[c for c in columns if c not in _ADJUSTED_COLUMNS])
    return _adjust(results, table)[columns]


_ADJUSTED_COLUMNS = ("correction", "p_adjusted", "p_adjusted_smallest", "significant")
_COMPARISON_COLUMNS = (
    *("reference", "n", "zeros", "difference", "ci_low", "ci_high", "ci_level"),
    *("mean_difference", "effect", "verdict"),
    *("p", "p_smallest", "family", "correction", "p_adjusted", "p_adjusted_smallest", "significant"),
    "method",
)


def _compare(results: StudyResults, group: dict[str, Any], level: str, name: str) -> dict[str, Any]:
    quantity = results.quantities[name]
    reference = results.reference
    first, second = sample(results, group, level, name).minus(sample(results, group, reference, name))
    interval = hodges_lehmann(first, second)
    test = signed_rank_test(first, second)
    return {
        "quantity": name,
        "kind": quantity.kind,
        results.factor.name: level,
        "reference": reference,
        "n": test.n,
        "zeros": test.zeros,
        "difference": interval.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_level": interval.level,
        "mean_difference": float(np.nanmean(first - second)) if test.n else np.nan,
        "effect": test.effect,
        "verdict": quantity.verdict(test.effect) if test.n else "",
        "p": test.p,
        "p_smallest": test.smallest_p,
        "family": PRIMARY if name in results.primary else SECONDARY,
        "method": BY_JACKKNIFE if name in results.of_pairs else BY_SEED,
    }


def _adjust(results: StudyResults, table: pd.DataFrame) -> pd.DataFrame:
    """Add what depends on the other tests of a family."""
    table = table.assign(correction="", p_adjusted=np.nan, p_adjusted_smallest=np.nan)
    for _, rows in table.groupby([*results.keys, "family"], dropna=False):
        name, correct = CORRECTIONS[rows["family"].iloc[0]]
        table.loc[rows.index, "correction"] = name
        table.loc[rows.index, "p_adjusted"] = correct(rows["p"].to_numpy(float))
        table.loc[rows.index, "p_adjusted_smallest"] = correct(rows["p_smallest"].to_numpy(float))
    table["significant"] = table["p_adjusted"] <= ALPHA
    return table
