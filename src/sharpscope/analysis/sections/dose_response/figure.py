"""Dose and response, drawn: courses, changes from end to end, sharpness against the loss, and trends."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.dose.sizes import range_told
from sharpscope.analysis.dose.told import place_told
from sharpscope.analysis.drawing.figures import TEXT, logarithmic, panels
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.results import StudyResults, TableRow, describe_moment
from sharpscope.analysis.sections.dose_response.data import (
    SHORT,
    Cloud,
    Curve,
    Panel,
    clouds_of,
    finite,
    heat_rows,
    lanes_of,
    moments_of,
    panels_of,
    room_for,
    runs_of,
    slope_rows,
)
from sharpscope.store.snapshots import END

_ACROSS = 3
_WRAPPED = 12  # letters of a line below a column of trends
_LETTERS = 30.0  # that one of three panels has room for
_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
# On white paper the whole sequence can be told apart, but for its pale end.
_SEQUENCE, _PALE = colormaps["cividis"], 0.95
_DIVERGING = LinearSegmentedColormap.from_list("trend", ["#D55E00", "#FFFFFF", "#0072B2"])


def dash_of(place: int) -> Any:
    """Return the dash of a curve: solid at the end of training, others at matched losses."""
    return _DASHES[place % len(_DASHES)]


def colors_of(axis: Axis) -> dict[str, str]:
    """Return the color of every level on paper, in their order from dark to light."""
    step = _PALE / (len(axis.levels) - 1)
    return {level: to_hex(_SEQUENCE(step * k)) for k, level in enumerate(axis.levels)}


def courses(results: StudyResults, axis: Axis) -> Figure | None:
    """Draw every quantity along the levels: a thin line a seed, a thick one and a band for their mean."""
    found = panels_of(results, axis)
    if not found:
        return None
    figure, axes = panels(len(found), TEXT, 1.7, _ACROSS)
    colors = colors_of(axis)
    for place, panel in zip(axes, found, strict=True):
        _course(place, results, axis, panel, colors)
    figure.supxlabel(f"{lettered(axis.name)}{_hint(axis)}", fontsize=7)
    losses = [curve.loss for panel in found for curve in panel.curves]
    handles = [
        Line2D([], [], color="0.15", linestyle=dash_of(k), linewidth=1.2, label=describe_moment(loss))
        for k, loss in enumerate(dict.fromkeys(losses))
    ]
    hollow = Line2D([], [], color="0.15", marker="o", markerfacecolor="white", markersize=4, linestyle="")
    hollow.set_label("reference")
    figure.legend(handles=[*handles, hollow], loc="outside upper center", ncols=len(handles) + 1)
    return figure


def _hint(axis: Axis) -> str:
    return " (log scale)" if axis.spacing == "equal ratios" else ""


def _course(place: Axes, results: StudyResults, axis: Axis, panel: Panel, colors: dict[str, str]) -> None:
    x, on_line = axis.drawn, axis.on_line
    for row in panel.seeds:
        for run in runs_of(row, on_line):
            place.plot(x[run], row[run], color="0.3", alpha=0.15, linewidth=0.5)
    for k, curve in enumerate(panel.curves):
        _curve(place, x, on_line, curve, k)
    reference = results.reference
    for k, level in enumerate(axis.levels):
        color = colors[level]
        fill = "white" if level == reference else color
        place.plot(x[k], panel.curves[0].value[k], "o", color=color, markerfacecolor=fill, markersize=3.2, zorder=3)
    if panel.scale.logarithmic:
        logarithmic(place, "y")
    else:
        place.locator_params(axis="y", nbins=4)
    kept = room_for(axis.labels, x, _LETTERS)
    place.set_xticks(x, minor=True)
    place.set_xticks([x[k] for k in kept], [lettered(axis.labels[k]) for k in kept])
    if len(axis.labels[kept[-1]]) > SHORT:
        place.get_xticklabels()[-1].set_horizontalalignment("right")
    place.tick_params(axis="x", which="minor", length=2)
    place.set_title(lettered(panel.quantity.label))


def _curve(place: Axes, x: np.ndarray, on_line: np.ndarray, curve: Curve, order: int) -> None:
    for run in runs_of(curve.value, on_line):
        if not order:
            place.fill_between(x[run], curve.low[run], curve.high[run], color="0.5", alpha=0.25, linewidth=0)
        place.plot(x[run], curve.value[run], color="0.15", linewidth=1.2, linestyle=dash_of(order))
    alone = ~on_line & np.isfinite(curve.value)
    if not order:
        place.vlines(x[alone], curve.low[alone], curve.high[alone], color="0.5", alpha=0.4, linewidth=3)
    else:
        place.plot(x[alone], curve.value[alone], "_", color="0.15", markersize=6)


def slope_plot(results: StudyResults, table: pd.DataFrame) -> Figure | None:
    """Draw the changes from end to end as factors: a row a measure, at matched losses and at the end."""
    rows, moments = slope_rows(table), lanes_of(results, table)
    if not rows:
        return None
    figure, (place,) = panels(1, TEXT, 0.45 + 0.13 * (len(moments) + 1) * len(rows), 1)
    for k, found in enumerate(rows.values()):
        for lane, at in enumerate(moments):
            if at in found:
                y = k + 0.7 * ((lane + 0.5) / len(moments) - 0.5)
                _change(
                    place, found[at], y, _fill(lane, len(moments)), range_told(found[at], found.get(END, found[at]))
                )
    place.axvline(1.0, color="0.6", linewidth=0.7, zorder=0)
    place.text(1.0, -0.52, "no change", ha="center", va="bottom", fontsize=6, color="0.4")
    logarithmic(place, "x")
    place.xaxis.set_major_formatter(lambda value, _: f"{numbers.TIMES}{numbers.plain(value)}")
    place.set_yticks(range(len(rows)), [lettered(results.quantities[name].label) for name in rows])
    place.set_ylim(len(rows) - 0.5, -0.5)
    place.set_xlabel(f"Change by straight lines from end to end of {lettered(table['h'].iloc[0])}, with 95% interval")
    place.spines["left"].set_visible(False)
    place.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], color="0.15", marker="o", linestyle="", markersize=4, markerfacecolor=_fill(k, len(moments)))
        for k in range(len(moments))
    ]
    names = [place_told(at) for at in moments]
    figure.legend(handles, names, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def _fill(lane: int, lanes: int) -> str:
    """Return the gray of a mark: black at the end, white at the last matched loss."""
    return f"{0.15 + 0.85 * lane / max(lanes - 1, 1):.2f}"


def _change(place: Axes, row: TableRow, y: float, fill: str, levels: str) -> None:
    low, high = (finite(row[end], row["change"]) for end in ("ci_low", "ci_high"))
    place.plot([low, high], [y, y], color="0.4", linewidth=1)
    place.plot([row["change"]], [y], "o", color="0.15", markersize=3.6, markerfacecolor=fill)
    if levels:
        place.annotate(lettered(levels), (high, y), (3, 0), textcoords="offset points", va="center", fontsize=5)


def against_loss(results: StudyResults, axis: Axis) -> Figure | None:
    """Draw sharpness against the train loss at the end, colored by level, with a line that joins the levels' means."""
    clouds = clouds_of(results, axis)
    if not clouds:
        return None
    colors = colors_of(axis)
    figure, axes = panels(len(clouds), TEXT, 1.8, _ACROSS)
    for place, cloud in zip(axes, clouds, strict=True):
        _cloud(place, axis, cloud, colors)
    figure.supxlabel("Train loss at the end of training", fontsize=7)
    handles = [
        Line2D([], [], color=colors[level], marker="o", linestyle="", markersize=4, label=lettered(label))
        for level, label in zip(axis.levels, axis.labels, strict=True)
    ]
    columns = max(1, min(len(handles), 110 // max(4 + len(str(handle.get_label())) for handle in handles)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, title=lettered(axis.name))
    return figure


def _cloud(place: Axes, axis: Axis, cloud: Cloud, colors: dict[str, str]) -> None:
    place.plot(*cloud.means, color="0.15", linewidth=0.8)
    for k, level in enumerate(axis.levels):
        place.plot(*cloud.points[:, :, k], ".", color=colors[level], markersize=2.5, alpha=0.5)
        place.plot(*cloud.means[:, [k]], "o", color=colors[level], markeredgecolor="0.15", markersize=4)
        x, y = map(float, cloud.means[:, k])
        if k in (0, len(axis.levels) - 1) and np.isfinite(x + y):
            label = place.annotate(lettered(axis.labels[k]), (x, y), (0, 4), textcoords="offset points", ha="center")
            label.set(fontsize=6, path_effects=[withStroke(linewidth=1.5, foreground="white")])
    for which, scale in (("x", cloud.x), ("y", cloud.y)):
        if scale.logarithmic:
            logarithmic(place, "x" if which == "x" else "y")
        else:
            place.locator_params(axis="x" if which == "x" else "y", nbins=4)
    place.set_title(lettered(cloud.quantity.label))


def heat_strip(results: StudyResults, table: pd.DataFrame) -> Figure | None:
    """Draw the mean trend of every quantity, at matched losses and at the end."""
    rows, moments = heat_rows(table), moments_of(results, table)
    if not rows:
        return None
    taus = np.array([[found[at]["tau"] if at in found else np.nan for at in moments] for found in rows.values()])
    figure, (place,) = panels(1, TEXT * 0.62, 0.4 + 0.17 * len(rows), 1)
    image = place.imshow(taus, cmap=_DIVERGING, vmin=-1, vmax=1, aspect="auto")
    for (y, x), tau in np.ndenumerate(taus):
        if np.isfinite(tau):
            place.text(x, y, numbers.fixed(tau, 2), ha="center", va="center", fontsize=6)
    place.set_xticks(range(len(moments)), [fill(place_told(at), _WRAPPED) for at in moments])
    place.set_yticks(range(len(rows)), [lettered(results.quantities[name].label) for name in rows])
    place.tick_params(length=0)
    place.set_title(f"Mean Kendall tau with {lettered(table['factor'].iloc[0])}")
    figure.colorbar(image, ax=place).outline.set_linewidth(0.4)
    return figure
