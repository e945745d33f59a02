"""Target, fit and error, a row of three pictures a level of the factor."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, cell_label
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.surfaces.data import ErrorScale, Panel

HEIGHTS, ERRORS = colormaps["viridis"], colormaps["magma"]


def pictures(results: StudyResults, shown: list[Panel]) -> Figure:
    """Draw all panels, two beside each other, with one scale of errors."""
    beside = min(2, len(shown))
    rows = math.ceil(len(shown) / beside)
    figure = Figure(figsize=(TEXT, rows * (TEXT / (3 * beside) + 0.3) + 0.2), layout="constrained")
    axes = figure.subplots(rows, 3 * beside, squeeze=False)
    scale = ErrorScale.of(shown)
    for place, trio in enumerate(axes.reshape(-1, 3)):
        if place >= len(shown):
            for axis in trio:
                axis.remove()
            continue
        _row(trio, shown[place], scale, cell_label(results.factor.told(shown[place].level), shown[place].group))
    told = f"from {scale.low:.2g} (dark) to {scale.high:.2g} (light) by its logarithm"
    figure.supxlabel(f"Error: root mean square over seeds, {told}", fontsize=7)
    return figure


def _row(trio: np.ndarray, panel: Panel, scale: ErrorScale, name: str) -> None:
    _draw(trio[0], panel, HEIGHTS(panel.shade(panel.target)), panel.target)
    _draw(trio[1], panel, HEIGHTS(panel.shade(panel.fits[0])), panel.fits[0])
    _draw(trio[2], panel, ERRORS(scale.shade(panel.error)), None)
    trio[0].set_title("target")
    trio[1].set_title(f"{name}\nfit")
    trio[2].set_title("error")


def _draw(axis: Axes, panel: Panel, colors: np.ndarray, lines: np.ndarray | None) -> None:
    axis.imshow(colors, origin="lower", extent=panel.region.edges, interpolation="bilinear")
    for height in panel.heights:
        for line in [] if lines is None else panel.region.contours(lines, height):
            axis.plot(*line.T, color="white", linewidth=0.3, alpha=0.6)
    axis.spines[:].set_visible(False)
    axis.set(xticks=[], yticks=[], xlim=panel.region.edges[:2], ylim=panel.region.edges[2:])
