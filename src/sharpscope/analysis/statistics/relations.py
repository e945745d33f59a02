"""How quantities rank together: over all runs, within cells, between cells, and given a third quantity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.bca import Bounds, bca_interval
from sharpscope.analysis.statistics.partial import partial_correlation
from sharpscope.analysis.statistics.ranks import (
    Ranked,
    mean_of_defined,
    mean_spearman,
    permutation_spearman,
    spearman,
    spearman_given,
    spearman_of,
)
from sharpscope.numpy_stream import NumpyStream

RESAMPLES = 5_000
LEAST_RUNS = 5  # of a cell, for a coefficient within it

REVERSED, MASKED, BETWEEN_ONLY, UNDECIDED = "reversed", "masked", "between only", "undecided"


@dataclass(frozen=True)
class Design:
    """Where some runs stand in the grid, each entry an array with one value a run.

    Attributes:
        seeds: The seed.
        levels: The level of the factor, as a number from 0.
        settings: The setting, the combination of all other keys, as a number from 0.
    """

    seeds: np.ndarray
    levels: np.ndarray
    settings: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """The cell of each run: its setting and level, as a number."""
        return self.settings * (self.levels.max(initial=0) + 1) + self.levels

    def of(self, rows: np.ndarray) -> Design:
        """Return the design of some of the runs."""
        return Design(self.seeds[rows], self.levels[rows], self.settings[rows])


@dataclass(frozen=True)
class Relations:
    """How each of ``p`` quantities ranks with each of ``q`` others; each entry has the shape ``[p, q]``.

    Attributes:
        runs: How many runs.
        points: How many means are compared between cells.
        cells: How many cells have a coefficient.
        pooled: Spearman's coefficient over all runs; its interval holds for these levels, whatever others would do.
        least: The least pooled coefficient without the runs of one level.
        greatest: The greatest one.
        within: The mean of the coefficients within cells.
        partial: The same, given what is held fixed.
        between: The coefficient of the means of cells.
        between_p: In what share of the levels' orders it is as far from zero.
        between_levels: Within settings, over the means of levels.
        between_settings: Within levels, over the means of settings.
    """

    runs: int
    points: int
    cells: np.ndarray
    pooled: Bounds
    least: np.ndarray
    greatest: np.ndarray
    within: Bounds
    partial: Bounds
    between: np.ndarray
    between_p: np.ndarray
    between_levels: np.ndarray
    between_settings: np.ndarray


def relations(
    x: np.ndarray,
    y: np.ndarray,
    given: np.ndarray,
    design: Design,
    stream: NumpyStream,
    *,
    resamples: int = RESAMPLES,
) -> Relations:
    """Return how quantities rank with others over runs.

    Intervals resample seeds, each with all its runs, which keeps their dependence and the share of every level.

    Args:
        x: Shape ``[p, runs]``, without NaN.
        y: Shape ``[q, runs]``, without NaN.
        given: What the partial relation holds fixed, shape ``[runs]``, or ``[g, runs]`` of several; NaN for none.
        design: Where the runs stand.
        stream: Where resamples and orders are drawn from.
        resamples: How many resamples are drawn.
    """
    units, unit_of_run = np.unique(design.seeds, return_inverse=True)
    ranked_x, ranked_y = Ranked.of(x, unit_of_run), Ranked.of(y, unit_of_run)

    def pooled(weights: np.ndarray) -> np.ndarray:
        return spearman(ranked_x, ranked_y, weights)

    at_once = _at_once(x.size + y.size)
    over_all = bca_interval(pooled, len(units), stream, resamples=resamples, at_once=at_once)
    inside = within_cells(x, y, given, design, stream, resamples=resamples)
    least, greatest = _without_a_level(x, y, design.levels)
    means_x, means_y = _means(x, design), _means(y, design)
    between, between_p = permutation_spearman(means_x, means_y, stream)
    return Relations(
        runs=x.shape[1],
        points=means_x.shape[1] * means_x.shape[2],
        cells=inside.cells,
        pooled=over_all,
        least=least,
        greatest=greatest,
        within=inside.plain,
        partial=inside.partial,
        between=between,
        between_p=between_p,
        between_levels=mean_spearman(means_x, means_y),
        between_settings=mean_spearman(means_x.transpose(0, 2, 1), means_y.transpose(0, 2, 1)),
    )


@dataclass(frozen=True)
class Within:
    """How each of ``p`` quantities goes with each of ``q`` others within cells; each entry has the shape ``[p, q]``.

    Attributes:
        plain: The mean of the coefficients within cells.
        partial: The same, given what is held fixed.
        cells: How many cells have a coefficient.
    """

    plain: Bounds
    partial: Bounds
    cells: np.ndarray


def within_cells(
    x: np.ndarray,
    y: np.ndarray,
    given: np.ndarray,
    design: Design,
    stream: NumpyStream,
    *,
    resamples: int = RESAMPLES,
) -> Within:
    """Return how quantities rank with others within cells, with intervals over seeds; arguments as ``relations``."""
    units, unit_of_run = np.unique(design.seeds, return_inverse=True)
    parts = [
        rows for cell in np.unique(design.cells) if len(rows := np.flatnonzero(design.cells == cell)) >= LEAST_RUNS
    ]

    def ranked(values: np.ndarray, rows: np.ndarray) -> Ranked:
        return Ranked.of(values[:, rows], unit_of_run[rows], units=len(units))

    third = np.atleast_2d(given)
    fixed = [ranked(third, rows) if np.isfinite(third[:, rows]).all() else None for rows in parts]
    of_cells = [(ranked(x, rows), ranked(y, rows), held) for rows, held in zip(parts, fixed, strict=True)]

    def within(weights: np.ndarray) -> np.ndarray:
        total, count = np.zeros((2, len(weights), 2, len(x), len(y)))
        for of_cell in of_cells:
            found = spearman_given(*of_cell, weights)
            known = np.isfinite(found)
            total += np.where(known, found, 0.0)
            count += known
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    at_once = _at_once((len(x) + len(y)) * max(map(len, parts), default=1))
    inside = bca_interval(within, len(units), stream, resamples=resamples, at_once=at_once)
    cells = [np.isfinite(spearman_of(x[:, rows], y[:, rows])) for rows in parts]
    count = np.sum(cells, axis=0) if cells else np.zeros((len(x), len(y)), dtype=int)
    return Within(inside.at(0), inside.at(1), count)


def within_seeds(
    x: np.ndarray,
    y: np.ndarray,
    given: np.ndarray,
    design: Design,
    stream: NumpyStream,
    *,
    resamples: int = RESAMPLES,
) -> Within:
    """Return how quantities go with others over the levels of one seed and setting, with intervals over seeds.

    A seed's coefficient is the mean of those of its settings, of five runs or more; ``cells`` counts seeds and settings
    that have one. The plain one is Spearman's. That given others is of the values as they are, see
    ``partial_correlation``, so they must be on the scale on which they are compared. Arguments as ``relations``.
    """
    units, unit_of_run = np.unique(design.seeds, return_inverse=True)
    settings, setting_of_run = np.unique(design.settings, return_inverse=True)
    found = np.full((len(settings), len(units), 2, len(x), len(y)), np.nan)
    for setting, unit in np.ndindex(found.shape[:2]):
        rows = np.flatnonzero((setting_of_run == setting) & (unit_of_run == unit))
        if len(rows) >= LEAST_RUNS:
            found[setting, unit, 0] = spearman_of(x[:, rows], y[:, rows])
            third = np.atleast_2d(given)[:, rows]
            if np.isfinite(third).all():
                found[setting, unit, 1] = partial_correlation(x[:, rows], y[:, rows], third)
    of_units = mean_of_defined(found)
    known = np.isfinite(of_units)

    def mean(weights: np.ndarray) -> np.ndarray:
        total = np.tensordot(weights, np.where(known, of_units, 0.0), axes=1)
        count = np.tensordot(weights, known.astype(float), axes=1)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    inside = bca_interval(mean, len(units), stream, resamples=resamples)
    return Within(inside.at(0), inside.at(1), np.isfinite(found[:, :, 0]).sum(axis=(0, 1)))


def _at_once(ranks: int) -> int:
    """Return in how many resamples so many ranks are held at once: few enough for the processor's cache."""
    return max(100, min(RESAMPLES, 200_000 // max(ranks, 1)))


def _means(values: np.ndarray, design: Design) -> np.ndarray:
    """Return the means of cells, shape ``[quantities, settings, levels]``, of settings that have every level."""
    levels, level_of_run = np.unique(design.levels, return_inverse=True)
    settings, setting_of_run = np.unique(design.settings, return_inverse=True)
    cell = setting_of_run * len(levels) + level_of_run
    counts = np.bincount(cell, minlength=len(settings) * len(levels))
    sums = np.stack([np.bincount(cell, row, minlength=len(counts)) for row in values])
    means = (sums / np.maximum(counts, 1)).reshape(len(values), len(settings), len(levels))
    return means[:, (counts.reshape(len(settings), len(levels)) > 0).all(axis=1)]


def _without_a_level(x: np.ndarray, y: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest pooled coefficient without one level; NaN where that leaves fewer than two."""
    present = np.unique(levels)
    found = np.full((1, len(x), len(y)), np.nan)
    if len(present) > 2:
        found = np.stack([spearman_of(x[:, rows], y[:, rows]) for rows in (levels != one for one in present)])
    return np.fmin.reduce(found, axis=0), np.fmax.reduce(found, axis=0)


def flags(pooled: Bounds, within: Bounds) -> np.ndarray:
    """Return what a reader must know of a pooled relation, shape as theirs; empty where the two agree, or it has none.

    ``reversed``: both exclude zero and have opposite signs. ``masked``: within cells it excludes zero, pooled it does
    not or is less than half as large. ``between only``: pooled it excludes zero, and within cells all that the interval
    allows is less than half as large. ``undecided``: everything else, as where the interval within cells is so wide
    that it holds both zero and the pooled coefficient.
    """
    p, w = pooled.sign, within.sign
    size = np.abs(pooled.value)
    found = np.where((p == w) & (p != 0), "", UNDECIDED).astype(object)
    most = np.fmax(np.abs(within.low), np.abs(within.high))
    found[(p != 0) & (most < size / 2)] = BETWEEN_ONLY
    found[(w != 0) & ((p == 0) | (size < np.abs(within.value) / 2))] = MASKED
    found[p * w < 0] = REVERSED
    found[np.isnan(pooled.value) & np.isnan(within.value)] = ""
    return found
