"""Figures fit for a paper: vector files at column width, fonts embedded, the same bytes for the same study."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sharpscope.analysis import matched
from sharpscope.analysis.lettering import FAMILY, lettered
from sharpscope.analysis.palette import looks
from sharpscope.analysis.reliability import aggregate, expected_calibration_error
from sharpscope.analysis.results import StudyResults, by, describe_group, describe_moment, records, select
from sharpscope.analysis.scale import spans_decades

COLUMN, TEXT = 3.25, 6.75  # inches: one column and the full width of a two-column page

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": [FAMILY],
    "text.parse_math": False,  # a dollar in a label of the user's is a dollar
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "sharpscope",
}


def figure_files(results: StudyResults, regimes: pd.DataFrame) -> dict[str, bytes]:
    """Return every figure that the study has data for, as PDF and SVG, by the name of its file."""
    drawings: dict[str, Callable[[], Figure | None]] = {}
    for level in ("", *results.levels):
        which = f"measures_at_loss_{level}" if level else "measures"
        drawings[f"{which}_vs_train_loss"] = partial(_scatter, results, results.across("train_loss").get(level), level)
        for x in ("generalization_gap", "ece"):
            drawings[f"{which}_vs_{x}"] = partial(_scatter, results, x, level)
    drawings["reliability"] = partial(_reliability, results)
    drawings["regimes"] = partial(_forest, results, regimes)
    drawings["matched_loss"] = partial(_matched, results, regimes)
    files: dict[str, bytes] = {}
    with mpl.rc_context(_STYLE):
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                pdf, svg = _render(figure)
                files |= {f"{name}.pdf": pdf, f"{name}.svg": svg}
    return files


def _render(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PDF and as SVG, without dates: the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    # Layout costs more than drawing, so both files share one; ``savefig`` would draw twice more for each.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pdf, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
    return pdf.getvalue(), svg.getvalue()


def _panels(count: int, width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels; unused places of its grid stay empty."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, rows * height + 0.45), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.remove()
    return figure, list(axes[:count])


def _logarithmic(axis: Axes, which: Literal["x", "y"]) -> None:
    """Make one axis logarithmic with few, plain labels; the usual minor labels overlap in small panels."""
    axis.set(**{f"{which}scale": "log"})
    of_axis = axis.xaxis if which == "x" else axis.yaxis
    low, high = sorted(axis.dataLim.intervalx if which == "x" else axis.dataLim.intervaly)
    subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    of_axis.set_major_locator(LogLocator(subs=subs, numticks=5))
    of_axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    of_axis.set_minor_formatter(NullFormatter())


def _regime_legend(figure: Figure, results: StudyResults) -> None:
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", markersize=4, label=lettered(regime))
        for regime, look in looks(results.regimes).items()
    ]
    # About as many characters as fit beside one another.
    columns = max(1, min(len(handles), 6, 130 // max(len(str(handle.get_label())) for handle in handles)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handletextpad=0.2)


def _cell_label(regime: str, group: dict[str, Any]) -> str:
    return ", ".join(map(lettered, filter(None, (regime, describe_group(group)))))


def _scatter(results: StudyResults, x: str | None, level: str) -> Figure | None:
    measures = results.measures(level)
    if x not in results.measured or not measures:
        return None
    figure, axes = _panels(len(measures), TEXT, 1.55, 4)
    ledger, styles = results.ledger, looks(results.regimes)
    logarithmic = x == matched.LOSS and bool((ledger[x].dropna() > 0).all())
    for axis, measure in zip(axes, measures, strict=True):
        for regime, look in styles.items():
            runs = ledger[ledger["regime"] == regime]
            hollow = results.unconverged(measure)[runs.index]
            solid: dict[str, Any] = {"c": look.color, "linewidths": 0.3, "edgecolors": "white"}
            open_: dict[str, Any] = {"facecolors": "none", "linewidths": 0.6, "edgecolors": look.color}
            for part, style in ((runs[~hollow], solid), (runs[hollow], open_)):
                axis.scatter(part[x], part[measure], s=11, marker=look.marker, alpha=0.9, **style)
        if logarithmic:
            _logarithmic(axis, "x")
        else:
            axis.locator_params(axis="x", nbins=4)
        if spans_decades(ledger[measure].to_numpy(float)):
            _logarithmic(axis, "y")
        axis.set_title(lettered(results.quantities[measure].short_label))
    label = lettered(results.quantities[x].label) + (" (log scale)" if logarithmic else "")
    at_end = level and not results.quantities[x].level
    when = f"{' at the end of training' if at_end else ''}; measures at train loss {level}" if level else ""
    unsure = "; hollow: did not converge" if any(results.unconverged(name).any() for name in measures) else ""
    figure.supxlabel(f"{label}{when}{unsure}", fontsize=7)
    _regime_legend(figure, results)
    return figure


def _reliability(results: StudyResults) -> Figure | None:
    cells = [
        (group, regime, select(results.reliability, {**group, "regime": regime}))
        for group, _ in results.groups()
        for regime in results.regimes
        if not results.reliability.empty
    ]
    cells = [cell for cell in cells if not cell[2].empty]
    if not cells:
        return None
    figure, axes = _panels(len(cells), TEXT, 2.0, 3)
    styles = looks(results.regimes)
    for axis, (group, regime, rows) in zip(axes, cells, strict=True):
        bins = aggregate(rows)
        color = styles[regime].color
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.7, zorder=0)
        axis.vlines(bins["confidence"], bins["accuracy"], bins["confidence"], color=color, alpha=0.35, linewidth=2.5)
        axis.plot(bins["confidence"], bins["accuracy"], color=color, marker="o", markersize=3, linewidth=1)
        axis.bar(bins["center"], 0.18 * bins["share"], width=0.05, color="0.8", zorder=0)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set_title("\n".join(map(lettered, filter(None, (regime, describe_group(group))))))
        axis.text(0.04, 0.93, f"ECE {expected_calibration_error(bins):.3f}", transform=axis.transAxes, fontsize=6)
    figure.supxlabel("Confidence (bars: share of predictions)", fontsize=7)
    figure.supylabel("Accuracy", fontsize=7)
    return figure


def _forest(results: StudyResults, regimes: pd.DataFrame) -> Figure | None:
    """Draw the mean and interval of every primary quantity (all measured ones without a primary family)."""
    names = results.primary or results.measured
    if not names:
        return None
    groups = [group for group, _ in results.groups()]
    rows = len(groups) * len(results.regimes)
    figure, axes = _panels(len(names), TEXT, 0.5 + 0.16 * rows, 3)
    for position, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _forest_panel(axis, results, regimes[regimes["quantity"] == name], groups)
        axis.set_title(lettered(results.quantities[name].label))
        if position % 3:
            axis.tick_params(axis="y", labelleft=False)
    figure.supxlabel("Mean over seeds with 95% interval", fontsize=7)
    return figure


def _forest_panel(axis: Axes, results: StudyResults, table: pd.DataFrame, groups: list[dict[str, Any]]) -> None:
    labels: list[str] = []
    for group in groups:
        for regime, look in looks(results.regimes).items():
            for row in records(select(table, {**group, "regime": regime})):
                y = len(labels)
                axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=look.color, linewidth=1.2)
                axis.plot([row["mean"]], [y], color=look.color, marker=look.marker, markersize=4, linestyle="")
                if regime == results.reference:
                    axis.axvline(row["mean"], color="0.8", linewidth=0.6, zorder=0)
                labels.append(_cell_label(regime, group))
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.locator_params(axis="x", nbins=4)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _matched(results: StudyResults, regimes: pd.DataFrame) -> Figure | None:
    """Draw the train loss and every measure at matched train loss beside those at the end of training."""
    names = matched.shown(results)
    if not names:
        return None
    cells = [(group, regime) for group, _ in results.groups() for regime in results.regimes]
    figure, axes = _panels(len(names), TEXT, 0.45 + 0.085 * (len(results.moments) + 1) * len(cells), 3)
    for position, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _matched_panel(axis, results, regimes, name, cells)
        axis.set_title(lettered(results.quantities[name].label))
        if position % 3:
            axis.tick_params(axis="y", labelleft=False)
    figure.supxlabel(
        "Mean over seeds with 95% interval; vertical lines: the reference regime, and the loss to match", fontsize=7
    )
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


def _matched_panel(
    axis: Axes, results: StudyResults, regimes: pd.DataFrame, name: str, cells: list[tuple[dict[str, Any], str]]
) -> None:
    """Draw a row a regime, and in it a lane a moment."""
    columns, filled, styles = results.across(name), _filled(results), looks(results.regimes)
    table = regimes[regimes["quantity"].isin(columns.values())]
    pitch = 1 / (len(filled) + 1)
    for at, (group, regime) in enumerate(cells):
        rows = by(select(table, {**group, "regime": regime}), "quantity")
        color = styles[regime].color
        for lane, (moment, column) in enumerate(columns.items(), start=1):
            row, y = rows[column], at + (lane - (len(columns) + 1) / 2) * pitch
            axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=1, alpha=0.6)
            marker: dict[str, Any] = {"marker": "o", "markersize": 3.6, "markerfacecolor": _tint(color, filled[moment])}
            axis.plot([row["mean"]], [y], color=color, markeredgewidth=0.8, linestyle="", **marker)
            if regime == results.reference:
                style = ":" if moment else "-"
                span = (at - 0.5, at + len(results.regimes) - 0.5)
                axis.plot([row["mean"]] * 2, span, color="0.75", linewidth=0.6, linestyle=style, zorder=0)
    if name == matched.LOSS:
        for level in results.levels:
            axis.axvline(float(level), color="0.2", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    if spans_decades(table[["mean", "ci_low", "ci_high"]].to_numpy(float).ravel()):
        _logarithmic(axis, "x")
    else:
        axis.locator_params(axis="x", nbins=4)
    axis.set_yticks(range(len(cells)), [_cell_label(regime, group) for group, regime in cells])
    axis.set_ylim(len(cells) - 0.5, -0.5)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
