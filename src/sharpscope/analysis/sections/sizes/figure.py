"""Every difference in sharpness raw, at equal loss, at equal confidence, and at both."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.figures import TEXT, describe, entitle, name_levels, panels, row_labels, rows_of
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import marks
from sharpscope.analysis.results import StudyResults, by, select
from sharpscope.analysis.sections.sizes.data import axis_of, by_measure, conditions_of, drawable, is_ratio, nothing
from sharpscope.analysis.sizes import BOTH
from sharpscope.analysis.verdicts import CONFIDENCE, END, LOSS

# Marker of each condition, and whether it is filled.
_MARKS = {END: ("o", True), LOSS: ("s", False), CONFIDENCE: ("^", False), BOTH: ("D", True)}


def dumbbells(results: StudyResults, table: pd.DataFrame) -> Figure:
    """Draw a panel a measure, in it a row a level: the difference under each condition, joined by a line."""
    conditions = conditions_of(table)
    levels = [level for level in results.levels if level in set(table[results.factor.name])]
    measures, (labels, beside) = by_measure(table), row_labels(map(lettered, levels))
    figure, axes = panels(len(measures), TEXT, 0.45 + 0.085 * (len(conditions) + 1) * len(levels), 3)
    for place, (axis, name) in enumerate(zip(axes, measures, strict=True)):
        _panel(axis, results, table, measures[name], levels)
        entitle(axis, lettered(results.quantities[name].label), beside=beside)
        rows_of(axis, labels, named=place % 3 == 0)
    against = lettered(results.factor.told(results.reference))
    describe(figure, f"Against {against}, with 95% interval over seeds")
    name_levels(figure, results)
    handles = [
        Line2D([], [], color="0.3", linestyle="", markersize=4, label=f"at {told}", **_look(condition, "0.3"))
        for condition, told in conditions.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def _look(condition: str, color: str) -> dict[str, Any]:
    marker, filled = _MARKS[condition]
    return {"marker": marker, "markerfacecolor": color if filled else "white"}


def _panel(axis: Axes, results: StudyResults, table: pd.DataFrame, part: pd.DataFrame, levels: list[str]) -> None:
    conditions, styles, factor = list(conditions_of(table)), styles_of(results.factor), results.factor.name
    pitch = 1 / (len(conditions) + 1)
    for at, level in enumerate(levels):
        rows, color = by(select(drawable(part), {factor: level}), "condition"), styles[level].color
        places = [at + (lane - (len(conditions) - 1) / 2) * pitch for lane in range(len(conditions))]
        there = [(c, y, rows[c]) for c, y in zip(conditions, places, strict=True) if c in rows]
        axis.plot(
            [row["difference"] for *_, row in there], [y for _, y, _ in there], color=color, linewidth=0.5, alpha=0.5
        )
        for condition, y, row in there:
            axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=1, alpha=0.6)
            axis.plot(
                [row["difference"]], [y], color=color, markersize=3.6, markeredgewidth=0.8, **_look(condition, color)
            )
    axis.axvline(nothing(ratio=is_ratio(part)), color="0.6", linewidth=0.7, zorder=0)
    _ticks(axis, table, part)


def _ticks(axis: Axes, table: pd.DataFrame, part: pd.DataFrame) -> None:
    """Mark the axis of a panel: as factors where it has those, all on the same one."""
    if not is_ratio(part):
        axis.locator_params(axis="x", nbins=4)
        return
    scale = axis_of(table, part)
    axis.set_xscale("log")
    room = (scale.high / scale.low) ** 0.04
    axis.set_xlim(scale.low / room, scale.high * room)
    axis.xaxis.set_major_locator(FixedLocator([value for value, _ in marks(scale)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.TIMES + numbers.plain(value)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
