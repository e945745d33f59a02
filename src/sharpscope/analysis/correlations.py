"""How measures of sharpness move with what the function is worth: pooled over runs and within levels of the factor."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sharpscope.analysis.results import MEASURES, StudyResults
from sharpscope.analysis.statistics import Correlation, rank_correlation
from sharpscope.numpy_stream import NumpyStream

POOLED = "pooled"
WITHIN = "within"

# Every pair of quantities sees the same resamples of seeds, so their intervals are comparable.
_STREAM = NumpyStream(0, "analysis", "correlation")

COLUMNS = ["measure", "quantity", "scope", "n", "spearman", "ci_low", "ci_high", "kendall"]


def correlations_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure, outcome and scope.

    The scopes are all runs (``pooled``), the mean over the cells of the coefficient within each (``within``), and each
    level of the factor by itself when nothing but the seed varies within it. A pooled relation that is absent within
    levels tells levels apart; it does not tell runs apart (Simpson's paradox).

    A measure at a matched train loss is set against outcomes there and against those at the end of training.
    """
    rows = [
        {
            "measure": measure,
            "quantity": outcome,
            "scope": scope,
            "n": correlation.n,
            "spearman": correlation.spearman,
            "ci_low": correlation.low,
            "ci_high": correlation.high,
            "kendall": correlation.kendall,
        }
        for loss in ("", *results.losses)
        for measure in results.measures(loss)
        for outcome in outcomes(results, loss)
        for scope, correlation in _scopes(results, measure, outcome)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def outcomes(results: StudyResults, level: str = "") -> list[str]:
    """Return what measures at a matched train loss are set against: outcomes there, and at the end of training."""
    return list(dict.fromkeys([*outcomes_at(results, level), *outcomes_at(results, "")]))


def outcomes_at(results: StudyResults, level: str) -> list[str]:
    """Return what was found beside the measures at a matched train loss; at the end for the empty level."""
    return [name for name in results.at(level) if results.quantities[name].kind not in MEASURES]


def _scopes(results: StudyResults, measure: str, outcome: str) -> list[tuple[str, Correlation]]:
    runs, factor = results.runs, results.factor.name
    x, y = runs[measure].to_numpy(float), runs[outcome].to_numpy(float)
    seeds, levels = runs["seed"].to_numpy(), runs[factor].to_numpy()
    cells = runs.groupby([*results.keys, factor], sort=False, dropna=False).ngroup().to_numpy()

    def correlate(scope: str, rows: np.ndarray, labels: np.ndarray | None = None) -> tuple[str, Correlation]:
        chosen = None if labels is None else labels[rows]
        return scope, rank_correlation(x[rows], y[rows], seeds[rows], _STREAM, cells=chosen)

    everything = np.ones(len(runs), dtype=bool)
    scopes = [correlate(POOLED, everything), correlate(WITHIN, everything, cells)]
    if not results.keys:
        scopes += [correlate(level, levels == level) for level in results.levels]
    return scopes
