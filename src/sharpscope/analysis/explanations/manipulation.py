"""Does the factor move complexity at all? What is asked before anything is concluded about complexity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import contrast
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import same_levels
from sharpscope.analysis.statistics import mean_interval, smallest_reachable, westfall_young
from sharpscope.analysis.statistics.ranks import kendall
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END, column, snapshot_at

TREND = "trend"
_STREAM = NumpyStream(0, "analysis", "manipulation")


def moves_table(results: StudyResults, complexities: Sequence[str]) -> pd.DataFrame:
    """Return one row a measure of complexity, place and level: how the level moves complexity.

    The places (``at``) are the ``end`` of training and the matched train losses. Where the levels have an order, there
    is one row instead of one a level: ``level`` is then ``trend``, and the difference the mean over seeds of Kendall's
    tau-b of complexity with the levels' order. All rows of a place are one family of tests, corrected by flips of whole
    seeds (Westfall and Young); ``reachable`` says whether the seeds are enough for one to be significant. Levels that
    are the same runs have one row, and in the trend they are ties.
    """
    values = Values(results)
    of_level = _trends if results.factor.ordered and len(values.levels) > 2 else _contrasts
    rows: list[dict[str, Any]] = []
    for at in (END, *results.losses):
        columns = {name: place_column(results, name, at) for name in complexities}
        present = {name: found for name, found in columns.items() if found is not None}
        tested = [one for name, found in present.items() for one in of_level(values, name, found)]
        if not tested:
            continue
        differences = np.stack([differences for differences, _ in tested])
        p, smallest = westfall_young(differences, _STREAM, alpha=ALPHA), smallest_reachable(differences)
        rows += [
            {**row, "at": at, "p_adjusted": one, "significant": bool(one <= ALPHA), "reachable": bool(least <= ALPHA)}
            for (_, row), one, least in zip(tested, p, smallest, strict=True)
        ]
    columns_of = ["complexity", "at", "level", "n", "scale", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns_of, "p_adjusted", "significant", "reachable"])


def place_column(results: StudyResults, name: str, at: str) -> str | None:
    """Return the column of a quantity at a place; None where no run has a number there."""
    found = name if at == END else column(name, snapshot_at(at))
    return found if found in results.measured else None


def _contrasts(values: Values, name: str, found: str) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    same = same_levels(values.results)
    for level in (level for level in values.others if level not in same):
        test = contrast(values, found, level).tested
        told = test.described(values.results)
        kept = {key: told[key] for key in ("n", "scale", "difference", "ci_low", "ci_high")}
        yield test.values, {"complexity": name, "level": level, **kept}


def _trends(values: Values, name: str, found: str) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    ranks = np.array([values.results.factor.ranks[level] for level in values.levels], dtype=float)
    of_runs = values.of_runs(found)
    taus = np.full((of_runs.shape[0], of_runs.shape[2]), np.nan)
    for setting, seed in np.ndindex(taus.shape):
        y = of_runs[setting, :, seed]
        known = np.isfinite(y)
        taus[setting, seed] = kendall(ranks[None, known], y[None, known])[0, 0]
    known = np.isfinite(taus)
    count = known.sum(axis=0)
    of_seeds = np.divide(
        np.where(known, taus, 0.0).sum(axis=0), count, out=np.full(count.shape, np.nan), where=count > 0
    )
    mean = mean_interval(of_seeds, _STREAM)
    ends = {"difference": mean.value, "ci_low": mean.low, "ci_high": mean.high}
    yield of_seeds, {"complexity": name, "level": TREND, "n": mean.n, "scale": "correlation", **ends}
