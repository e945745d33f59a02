"""Decision boundaries with the training points, a panel a level of the factor."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, cell_label, panels
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.decision_boundary.data import Panel, class_color

_COLUMNS = 5


def boundaries(results: StudyResults, shown: list[Panel]) -> Figure:
    """Draw the boundaries of all panels."""
    columns = min(_COLUMNS, len(shown))
    figure, axes = panels(len(shown), TEXT, TEXT / columns + 0.25, columns)
    for axis, panel in zip(axes, shown, strict=True):
        _draw(axis, panel)
        axis.set_title(cell_label(results.factor.told(panel.level), panel.group, between="\n"))
    return figure


def _draw(axis: Axes, panel: Panel) -> None:
    axis.imshow(panel.colors, origin="lower", extent=panel.region.edges, interpolation="bilinear")
    axis.add_collection(LineCollection(panel.of_seeds, colors="0.2", linewidths=0.3, alpha=0.5))
    axis.add_collection(LineCollection(panel.of_most, colors="0.1", linewidths=1.0))
    colors = [class_color(int(label)) for label in panel.labels]
    x, y = panel.points.T
    axis.scatter(x, y, s=5, c=colors, edgecolors="white", linewidths=0.3, zorder=3)
    axis.spines[:].set_visible(False)
    axis.set(xticks=[], yticks=[], xlim=panel.region.edges[:2], ylim=panel.region.edges[2:])
