"""The share of eigenvalues beyond each size, a line a level."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing import figures
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.spectra.data import Panel

_MOST_LINES = 30  # of single runs of a level


def courses(results: StudyResults, panels: list[Panel]) -> Figure:
    """Draw the mean share over the runs of a level thick, and that of each run thin, on logarithmic axes."""
    figure, axes = figures.panels(len(panels), figures.TEXT, 2.0, 2)
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, results, panel)
        figures.entitle(axis, f"{lettered(results.quantities[panel.name].label)}, {panel.side} eigenvalues")
    figure.supylabel("Share of eigenvalues that are larger", fontsize=figures.STYLE["axes.labelsize"])
    figures.describe(figure, "Size of an eigenvalue; thin: single runs, thick: their mean")
    figures.level_legend(figure, results)
    return figure


def _panel(axis: Axes, results: StudyResults, panel: Panel) -> None:
    for level, shares in panel.shares.items():
        color = styles_of(results.factor)[level].color
        thin = np.where(shares[:_MOST_LINES] >= panel.least, shares[:_MOST_LINES], np.nan)
        axis.plot(panel.sizes, thin.T, color=color, linewidth=0.4, alpha=0.25)
        axis.plot(panel.sizes, panel.mean(level), color=color, linewidth=1.2)
    figures.logarithmic(axis, "x")
    figures.logarithmic(axis, "y")
