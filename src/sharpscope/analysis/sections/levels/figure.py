"""The mean and interval of every primary quantity, a row a level of the factor."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import (
    TEXT,
    cell_label,
    describe,
    entitle,
    intervals,
    name_levels,
    panels,
    row_labels,
    rows_of,
)
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.levels import means_of
from sharpscope.analysis.results import StudyResults


def forest(results: StudyResults, levels: pd.DataFrame) -> Figure | None:
    """Draw the mean and interval of every primary quantity (all measured ones without a primary family)."""
    names = results.primary or results.measured
    if not names:
        return None
    labels, beside = row_labels(cell_label(level, group) for group, _ in results.groups for level in results.levels)
    figure, axes = panels(len(names), TEXT, 0.5 + 0.16 * len(labels), 3)
    for position, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _panel(axis, results, means_of(results, levels, name))
        axis.locator_params(axis="x", nbins=4)
        entitle(axis, lettered(results.quantities[name].label), beside=beside)
        rows_of(axis, labels, named=position % 3 == 0)
    describe(figure, "Mean over seeds with 95% interval")
    name_levels(figure, results)
    return figure


def _panel(axis: Axes, results: StudyResults, found: dict[str, np.ndarray]) -> None:
    """Draw a row a level in each setting, and beside the rows of a setting the mean of its reference."""
    styles, mean = styles_of(results.factor), found["mean"]
    rows = np.arange(mean.size).reshape(mean.shape)
    for k, level in enumerate(results.levels):
        look = styles[level]
        intervals(axis, rows[:, k], found["ci_low"][:, k], found["ci_high"][:, k], color=look.color, linewidth=1.2)
        axis.plot(mean[:, k], rows[:, k], color=look.color, marker=look.marker, markersize=4, linestyle="")
        if level == results.reference:
            axis.vlines(mean[:, k], rows[:, 0] - 0.5, rows[:, -1] + 0.5, color="0.8", linewidth=0.6, zorder=0)
