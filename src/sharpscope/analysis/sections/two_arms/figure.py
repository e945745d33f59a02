"""Two arms on one figure: a measure against the same x."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sharpscope.analysis.dose.arms import Arm
from sharpscope.analysis.drawing.figures import TEXT, logarithmic, panels
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.sections.two_arms.data import COLORS, Panel, panels_of

_MARKERS = ("o", "s")


def against_each_other(first: Arm, second: Arm) -> Figure | None:
    """Draw the means of the levels of both arms, joined in the order of the levels; a panel a measure, x and place."""
    found = panels_of(first, second)
    if not found:
        return None
    figure, axes = panels(len(found), TEXT, 1.8, 3)
    for place, panel in zip(axes, found, strict=True):
        _panel(place, panel)
    handles = [
        Line2D(
            [], [], color=color, marker=marker, markersize=4, label=f"{lettered(arm.name)}: {lettered(arm.axis.name)}"
        )
        for arm, color, marker in zip((first, second), COLORS, _MARKERS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _panel(place: Axes, panel: Panel) -> None:
    arms = zip(panel.means, panel.ends, panel.levels, COLORS, _MARKERS, strict=True)
    for means, ends, levels, color, marker in arms:
        known = np.flatnonzero(np.isfinite(means).all(axis=0))
        place.vlines(means[0], ends[0], ends[1], color=color, alpha=0.5, linewidth=0.8)
        place.plot(*means[:, known], color=color, marker=marker, markersize=3.2, linewidth=0.9)
        for k, side in zip(known[[0, -1]], ("left", "center"), strict=True) if len(known) else ():
            x, y = map(float, means[:, k])
            place.annotate(lettered(levels[k]), (x, y), (0, 4), textcoords="offset points", ha=side, fontsize=6)
    if panel.x.logarithmic:
        logarithmic(place, "x")
    if panel.y.logarithmic:
        logarithmic(place, "y")
    place.set_title(lettered(panel.quantity.label))
    place.set_xlabel(lettered(panel.x_label))
