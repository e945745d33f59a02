"""The mean and interval of every primary quantity, a row a level of the factor."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing import TEXT, cell_label, name_levels, panels
from sharpscope.analysis.lettering import lettered
from sharpscope.analysis.palette import styles_of
from sharpscope.analysis.results import StudyResults, records, select


def forest(results: StudyResults, levels: pd.DataFrame) -> Figure | None:
    """Draw the mean and interval of every primary quantity (all measured ones without a primary family)."""
    names = results.primary or results.measured
    if not names:
        return None
    groups = [group for group, _ in results.groups()]
    rows = len(groups) * len(results.levels)
    figure, axes = panels(len(names), TEXT, 0.5 + 0.16 * rows, 3)
    for position, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _panel(axis, results, levels[levels["quantity"] == name], groups)
        axis.set_title(lettered(results.quantities[name].label))
        if position % 3:
            axis.tick_params(axis="y", labelleft=False)
    figure.supxlabel("Mean over seeds with 95% interval", fontsize=7)
    name_levels(figure, results)
    return figure


def _panel(axis: Axes, results: StudyResults, table: pd.DataFrame, groups: list[dict[str, Any]]) -> None:
    labels: list[str] = []
    factor, styles = results.factor, styles_of(results.factor)
    for group in groups:
        for level in results.levels:
            look = styles[level]
            for row in records(select(table, {**group, factor.name: level})):
                y = len(labels)
                axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=look.color, linewidth=1.2)
                axis.plot([row["mean"]], [y], color=look.color, marker=look.marker, markersize=4, linestyle="")
                if level == results.reference:
                    axis.axvline(row["mean"], color="0.8", linewidth=0.6, zorder=0)
                labels.append(cell_label(level, group))
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.locator_params(axis="x", nbins=4)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
