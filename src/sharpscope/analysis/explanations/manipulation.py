"""Does the factor move complexity at all? What is asked before anything is concluded about complexity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import contrast
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import same_levels
from sharpscope.analysis.statistics import mean_interval, smallest_reachable, study_wide, westfall_young
from sharpscope.analysis.statistics.course import counted_levels, courses_of_seeds
from sharpscope.analysis.statistics.ranks import mean_of_defined
from sharpscope.analysis.statistics.trend import LEAST_LEVELS, rank_trends, turns
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END, column, snapshot_at

TREND = "trend"
COLUMNS = (
    *("complexity", "at", "level", "n", "scale", "difference", "ci_low", "ci_high"),
    *("p_adjusted", "significant", "reachable", "turns", "first", "last", "lowest", "highest"),
)
_STREAM = NumpyStream(0, "analysis", "manipulation")


def moves_table(results: StudyResults, complexities: Sequence[str]) -> pd.DataFrame:
    """Return one row a measure of complexity, place and level: how the level moves complexity.

    The places (``at``) are the ``end`` of training and the matched train losses. Where the levels have an order, there
    is one row instead of one a level: ``level`` is then ``trend``, and the difference the mean over seeds of Kendall's
    tau-b of complexity with the levels' order, over the levels and seeds that count as in "Dose and response". Of fewer
    than three levels there is none, with ``n`` 0, and of a seed in which nothing moves it is 0.

    All rows of a place are one family of tests, corrected by flips of whole seeds (Westfall and Young); ``reachable``
    says whether the seeds are enough for one to be ``significant``. So is a trend as well whose course ``turns``: steps
    between adjacent levels are significant in both directions, whatever comes out on the whole. ``lowest`` and
    ``highest`` are the levels with the smallest and the largest mean, ``first`` and ``last`` the outermost that count.
    Levels that are the same runs have one row, and in the trend they are ties.
    """
    values = Values(results)
    of_level = _trends if results.factor.ordered and len(values.levels) >= LEAST_LEVELS else _contrasts
    rows: list[dict[str, Any]] = []
    for at in (END, *results.losses):
        columns = {name: place_column(results, name, at) for name in complexities}
        present = {name: found for name, found in columns.items() if found is not None}
        tested = [one for name, found in present.items() for one in of_level(values, name, found)]
        if not tested:
            continue
        differences = np.stack([differences for differences, _ in tested])
        p = westfall_young(differences, _STREAM, alpha=ALPHA)
        # Seeds in which nothing moves could have: they say that it does not.
        smallest = smallest_reachable(np.where(np.isfinite(differences), 1.0, np.nan))
        rows += [
            {
                **{**row, "at": at, "p_adjusted": one, "reachable": bool(least <= ALPHA)},
                "significant": bool(one <= ALPHA or row.get("turns", False)),
            }
            for (_, row), one, least in zip(tested, p, smallest, strict=True)
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
    levels = sorted(values.levels, key=values.results.factor.ranks.__getitem__)
    numbers = values.scaled(found).forward(values.independent(found))[:, [values.levels.index(one) for one in levels]]
    counted = counted_levels(numbers)
    kept = numbers[:, counted]
    enough = counted.sum() >= LEAST_LEVELS
    taus = study_wide(rank_trends(kept)).values if enough else np.full(len(values.seeds), np.nan)
    mean = mean_interval(taus, _STREAM)
    row = {"complexity": name, "level": TREND, "n": mean.n, "scale": "correlation"}
    if mean.n:
        courses, names = courses_of_seeds(kept), np.array(levels)[counted]
        means = mean_of_defined(courses.T)
        row |= {"difference": mean.value, "ci_low": mean.low, "ci_high": mean.high}
        row |= {"turns": turns(courses, _STREAM, alpha=ALPHA), "first": names[0], "last": names[-1]}
        row |= {"lowest": names[np.nanargmin(means)], "highest": names[np.nanargmax(means)]}
    yield taus, row
