"""The train loss and every measure at matched train loss beside those at the end of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
    suit,
)
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import spans_decades
from sharpscope.analysis.levels import means_of
from sharpscope.analysis.results import StudyResults, describe_moment
from sharpscope.analysis.sections.matched_loss.data import LOSS, shown


def lanes(results: StudyResults, levels: pd.DataFrame) -> Figure | None:
    """Draw the train loss and every measure at matched train loss beside those at the end of training."""
    names = shown(results)
    if not names:
        return None
    labels, beside = row_labels(cell_label(level, group) for group, _ in results.groups for level in results.levels)
    figure, axes = panels(len(names), TEXT, 0.45 + 0.085 * (len(results.moments) + 1) * len(labels), 3)
    for position, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _panel(axis, results, levels, name)
        entitle(axis, lettered(results.quantities[name].label), beside=beside)
        rows_of(axis, labels, named=position % 3 == 0)
    describe(figure, "Mean over seeds with 95% interval; vertical lines: the reference, and the loss to match")
    name_levels(figure, results)
    handles = [
        Line2D(
            [],
            [],
            color="0.3",
            marker="o",
            linestyle="",
            markersize=4,
            markerfacecolor=_tint("0.3", filled),
            label=f"at {describe_moment(moment)}",
        )
        for moment, filled in _filled(results).items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def _filled(results: StudyResults) -> dict[str, float]:
    """Return how much of its color the marker of each moment is filled with: none at first, all at the end."""
    return {moment: index / (len(results.moments) - 1) for index, moment in enumerate(results.moments)}


def _tint(color: str, share: float) -> tuple[float, float, float]:
    """Return a share of a color on white."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _panel(axis: Axes, results: StudyResults, levels: pd.DataFrame, name: str) -> None:
    """Draw a row a level in each setting, and in it a lane a moment."""
    columns, filled, styles = results.across(name), _filled(results), styles_of(results.factor)
    pitch = 1 / (len(filled) + 1)
    drawn = []
    for lane, (moment, column) in enumerate(columns.items(), start=1):
        found = means_of(results, levels, column)
        mean = found["mean"]
        drawn += [ends.ravel() for ends in found.values()]
        rows = np.arange(mean.size).reshape(mean.shape)
        at = rows + (lane - (len(columns) + 1) / 2) * pitch
        for k, level in enumerate(results.levels):
            color = styles[level].color
            ends = found["ci_low"][:, k], found["ci_high"][:, k]
            intervals(axis, at[:, k], *ends, color=color, linewidth=1, alpha=0.6)
            marker: dict[str, Any] = {"marker": "o", "markersize": 3.6, "markerfacecolor": _tint(color, filled[moment])}
            axis.plot(mean[:, k], at[:, k], color=color, markeredgewidth=0.8, linestyle="", **marker)
            if level == results.reference:
                span = rows[:, 0] - 0.5, rows[:, -1] + 0.5
                style: Any = ":" if moment else "-"
                axis.vlines(mean[:, k], *span, color="0.75", linewidth=0.6, linestyle=style, zorder=0)
    if name == LOSS:
        for loss in results.losses:
            axis.axvline(float(loss), color="0.2", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    suit(axis, "x", log=spans_decades(np.concatenate(drawn)))
