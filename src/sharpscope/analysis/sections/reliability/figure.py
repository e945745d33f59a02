"""Reliability diagrams, a panel a level of the factor."""

from __future__ import annotations

from matplotlib.figure import Figure

from sharpscope.analysis.drawing import TEXT, cell_label, panels
from sharpscope.analysis.palette import styles_of
from sharpscope.analysis.results import StudyResults, select
from sharpscope.analysis.sections.reliability.data import aggregate, expected_calibration_error


def diagrams(results: StudyResults) -> Figure | None:
    """Draw accuracy against confidence, a panel a level and setting."""
    cells = [
        (group, level, select(results.reliability_compared, {**group, results.factor.name: level}))
        for group, _ in results.groups()
        for level in results.levels
        if not results.reliability.empty
    ]
    cells = [cell for cell in cells if not cell[2].empty]
    if not cells:
        return None
    figure, axes = panels(len(cells), TEXT, 2.0, 3)
    factor, styles = results.factor, styles_of(results.factor)
    for axis, (group, level, rows) in zip(axes, cells, strict=True):
        bins = aggregate(rows)
        color = styles[level].color
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.7, zorder=0)
        axis.vlines(bins["confidence"], bins["accuracy"], bins["confidence"], color=color, alpha=0.35, linewidth=2.5)
        axis.plot(bins["confidence"], bins["accuracy"], color=color, marker="o", markersize=3, linewidth=1)
        axis.bar(bins["center"], 0.18 * bins["share"], width=0.05, color="0.8", zorder=0)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set_title(cell_label(factor.told(level), group, between="\n"))
        axis.text(0.04, 0.93, f"ECE {expected_calibration_error(bins):.3f}", transform=axis.transAxes, fontsize=6)
    figure.supxlabel("Confidence (bars: share of predictions)", fontsize=7)
    figure.supylabel("Accuracy", fontsize=7)
    return figure
