"""How measures move with what the function is worth: over all runs, within cells, between them, and given the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.results import MEASURES, StudyResults
from sharpscope.analysis.statistics import Bounds, bca_interval
from sharpscope.analysis.statistics.ranks import Ranked, kendall, mean_of_defined, spearman
from sharpscope.analysis.statistics.relations import LEAST_RUNS, RESAMPLES, Design, flags, relations
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import column, snapshot_at

POOLED = "pooled"
WITHIN = "within"
PARTIAL = "within, given train loss"
BETWEEN = "between"
BETWEEN_LEVELS = "between levels, within settings"
BETWEEN_SETTINGS = "between settings, within levels"

LOSS = "train_loss"

# Every pair of quantities sees the same resamples of seeds, so their intervals are comparable.
_STREAM = NumpyStream(0, "analysis", "correlation")

COLUMNS = [
    *("measure", "quantity", "scope", "n", "cells", "spearman", "ci_low", "ci_high"),
    *("p", "least", "greatest", "kendall", "flag"),
]


def correlations_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure, outcome and scope: Spearman's coefficient there.

    The scopes are all runs (``pooled``); the mean over cells of the coefficient within each (``within``), and the same
    given the ranks of the train loss; the means of cells (``between``), and these told apart into levels within
    settings and settings within levels; and each level of the factor by itself when nothing but the seed varies within
    it. ``n`` counts runs, or means; ``cells`` the cells that have a coefficient: of five runs or more, not constant.

    Intervals resample whole seeds. That of the pooled coefficient holds for these levels: ``least`` and ``greatest``
    are the coefficients without the runs of one level. Between cells no seed interval says anything: ``p`` is the share
    of the orders of the levels in which they rank as closely. ``flag`` tells where the pooled relation is not that
    within cells: see ``statistics.relations.flags``.

    A measure at a matched train loss is set against outcomes there and against those at the end of training.
    """
    rows = [row for loss in ("", *results.losses) for row in _of_moment(results, loss)]
    return pd.DataFrame(rows, columns=COLUMNS)


def outcomes(results: StudyResults, level: str = "") -> list[str]:
    """Return what measures at a matched train loss are set against: outcomes there, and at the end of training."""
    return list(dict.fromkeys([*outcomes_at(results, level), *outcomes_at(results, "")]))


def outcomes_at(results: StudyResults, level: str) -> list[str]:
    """Return what was found beside the measures at a matched train loss; at the end for the empty level."""
    return [name for name in results.at(level) if results.quantities[name].kind not in MEASURES]


@dataclass(frozen=True)
class _Block:
    """Quantities that the same runs have, so that they are correlated at once.

    Attributes:
        x: The measures.
        y: The outcomes.
        rows: Which runs have all of them.
    """

    x: list[str]
    y: list[str]
    rows: np.ndarray


def _of_moment(results: StudyResults, loss: str) -> Iterator[dict[str, Any]]:
    measures, others = results.measures(loss), outcomes(results, loss)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    settings, levels, _ = Values(results).places
    whole = Design(results.runs["seed"].to_numpy(), levels, settings)
    given = column(LOSS, snapshot_at(loss)) if loss else LOSS
    fixed = results.runs[given].to_numpy(float) if given in results.runs else np.full(len(results.runs), np.nan)
    for block in _blocks(results.runs, measures, others):
        found |= _scopes(results, block, fixed, whole)
    for measure in measures:
        for outcome in others:
            yield from found[measure, outcome]


def _blocks(runs: pd.DataFrame, measures: list[str], others: list[str]) -> Iterator[_Block]:
    """Yield the pairs of measures and outcomes by the runs that have both."""

    def by_runs(names: list[str]) -> dict[bytes, list[str]]:
        found: dict[bytes, list[str]] = {}
        for name in names:
            found.setdefault(np.isfinite(runs[name].to_numpy(float)).tobytes(), []).append(name)
        return found

    of_others = by_runs(others)
    for first, x in by_runs(measures).items():
        for second, y in of_others.items():
            yield _Block(x, y, np.frombuffer(first, dtype=bool) & np.frombuffer(second, dtype=bool))


def _scopes(
    results: StudyResults, block: _Block, given: np.ndarray, whole: Design
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of every measure and outcome of a block."""
    rows = np.flatnonzero(block.rows)
    x, y = (results.runs[names].to_numpy(float)[rows].T for names in (block.x, block.y))
    design = whole.of(rows)
    if len(rows) < 2:
        names = [POOLED, WITHIN, PARTIAL, BETWEEN, BETWEEN_LEVELS, BETWEEN_SETTINGS, *_alone(results)]
        return {(a, b): [_row((a, b), name, n=len(rows)) for name in names] for a in block.x for b in block.y}
    all_of = relations(x, y, given[rows], design, _STREAM)
    several = len(np.unique(design.cells)) > 1
    notes = flags(all_of.pooled, all_of.within) if several else np.full(all_of.cells.shape, "")
    tau = kendall(x, y)
    cells = [np.flatnonzero(design.cells == cell) for cell in np.unique(design.cells)]
    taus = [kendall(x[:, part], y[:, part]) for part in cells if len(part) >= LEAST_RUNS]
    tau_within = mean_of_defined(np.stack([np.full(tau.shape, np.nan), *taus]))
    alone = {level: _of_level(x, y, design, results.levels.index(level)) for level in _alone(results)}
    found = {}
    for i, j in np.ndindex(tau.shape):
        at, pair = (i, j), (block.x[i], block.y[j])
        runs: dict[str, Any] = {"n": all_of.runs}
        inside: dict[str, Any] = {**runs, "cells": int(all_of.cells[at])}
        means: dict[str, Any] = {"n": all_of.points}
        beside: dict[str, Any] = {
            "least": all_of.least[at],
            "greatest": all_of.greatest[at],
            "flag": notes[at],
            "kendall": tau[at],
        }
        found[pair] = [
            _row(pair, POOLED, **runs, **_bounds(all_of.pooled, at), **beside),
            _row(pair, WITHIN, **inside, **_bounds(all_of.within, at), kendall=tau_within[at]),
            _row(pair, PARTIAL, **inside, **_bounds(all_of.partial, at)),
            _row(pair, BETWEEN, **means, spearman=all_of.between[at], p=all_of.between_p[at]),
            _row(pair, BETWEEN_LEVELS, **means, spearman=all_of.between_levels[at]),
            _row(pair, BETWEEN_SETTINGS, **means, spearman=all_of.between_settings[at]),
            *(
                _row(pair, level, n=n, **_bounds(bounds, at), kendall=of_level[at])
                for level, (n, bounds, of_level) in alone.items()
            ),
        ]
    return found


def _alone(results: StudyResults) -> list[str]:
    """Return the levels that are correlated by themselves: where nothing but the seed varies within them."""
    return [] if results.keys else results.levels


def _of_level(x: np.ndarray, y: np.ndarray, design: Design, level: int) -> tuple[int, Bounds, np.ndarray]:
    rows = np.flatnonzero(design.levels == level)
    if len(rows) < 2:
        nothing = np.full((len(x), len(y)), np.nan)
        return len(rows), Bounds(nothing, nothing, nothing), nothing
    # Each seed has one run here.
    a, b = Ranked.of(x[:, rows]), Ranked.of(y[:, rows])
    found = bca_interval(lambda w: spearman(a, b, w), len(rows), _STREAM, resamples=RESAMPLES)
    return len(rows), found, kendall(x[:, rows], y[:, rows])


def _bounds(bounds: Bounds, at: tuple[int, ...]) -> dict[str, Any]:
    return {"spearman": bounds.value[at], "ci_low": bounds.low[at], "ci_high": bounds.high[at]}


def _row(pair: tuple[str, str], scope: str, **told: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan)
    return {**nothing, "cells": 0, "flag": "", "measure": pair[0], "quantity": pair[1], "scope": scope, **told}
