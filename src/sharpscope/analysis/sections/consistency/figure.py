"""Matrices of how alike runs of different levels are, and disagreement against error."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.figures import COLUMN, ROW_LABELS, TEXT, entitle, level_legend, panels, row_labels
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.sections.consistency.data import Alikeness, Errors, Seeds, independent


def matrices_figure(found: Alikeness) -> Figure | None:
    """Draw a matrix of levels for each score and kind of seeds, within levels on its diagonal."""
    names = [name for name in (found.below, found.above) if name]
    if not found.has_across or not names:
        return None
    levels = found.values.levels
    figure, axes = panels(2 * len(names), TEXT, 1.2 + 0.25 * len(levels), 2)
    kinds: tuple[Seeds, ...] = ("same", "other")
    # Of a square matrix, both sides have them.
    labels, beside = row_labels(map(lettered, levels), ROW_LABELS / 2)
    for index, axis in enumerate(axes):
        name, seeds = names[index // 2], kinds[index % 2]
        matrix = _matrix(found, name, seeds)
        # Pale enough for the numbers in it.
        most = float(np.nanmax(matrix, initial=1e-9))
        axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1.6 * most)
        for a, b in np.ndindex(matrix.shape):
            axis.text(b, a, numbers.fixed(float(matrix[a, b]), 3), ha="center", va="center", fontsize=5.5)
        axis.set_yticks(range(len(levels)), labels)
        axis.set_xticks(range(len(levels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axis.tick_params(length=0)
        label = lettered(found.results.quantities[name].label)
        entitle(axis, f"{label}, {seeds} seed{'s' if seeds == 'other' else ''}", beside=2 * beside)
    return figure


def _matrix(found: Alikeness, name: str, seeds: Seeds) -> np.ndarray:
    """Return the means of a score by both levels, shape ``[levels, levels]``."""
    count = len(found.values.levels)
    matrix = np.full((count, count), np.nan)
    for a in range(count):
        matrix[a, a] = found.within(name, a).value
        for b in range(a + 1, count):
            matrix[a, b] = matrix[b, a] = found.across(name, a, b, seeds).value
    return matrix


def disagreement_figure(found: Alikeness, listed: list[Errors]) -> Figure | None:
    """Draw the disagreement of pairs of seeds against their mean error, with that of independent errors."""
    if not listed:
        return None
    figure, (axis,) = panels(1, COLUMN, 2.4, 1)
    styles = styles_of(found.results.factor)
    for one in listed:
        look = styles[one.level]
        axis.plot(
            one.error, one.disagreement, color=look.color, marker=look.marker, markersize=3, linestyle="", alpha=0.7
        )
    course = np.linspace(*axis.get_xlim(), 60).clip(0, 1)
    axis.fill_between(course, *independent(course), color="0.5", alpha=0.2, linewidth=0, zorder=0)
    axis.set(xlabel="Mean error of both runs", ylabel="Disagreement (band: independent errors)", ylim=(0, None))
    level_legend(figure, found.results)
    return figure
