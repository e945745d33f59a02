"""Heat maps of corruptions, and accuracies by severity."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, describe, entitle, level_legend, panels, row_labels
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.robustness.data import Course
from sharpscope.analysis.sections.robustness.heat import HeatMap, greatest, told_apart

# From worse to better over white, told apart under every common color blindness.
_DIVERGING = LinearSegmentedColormap.from_list("difference", ["#D55E00", "#FFFFFF", "#0072B2"])
_ACROSS = 3
_BAR = 50.0  # points that the bar of colors takes of the width


def heat_figure(maps: list[HeatMap]) -> Figure | None:
    """Draw the difference to the reference by corruption and severity, a panel a level; white where it may be none."""
    if not maps:
        return None
    rows = max(len(one.corruptions) for one in maps)
    figure, axes = panels(len(maps), TEXT, 0.5 + 0.13 * rows, _ACROSS)
    most, starred = 100 * greatest(maps) or 1.0, any(any(one.alike) for one in maps)
    for position, (axis, one) in enumerate(zip(axes, maps, strict=True)):
        image = axis.imshow(_points(one), cmap=_DIVERGING, vmin=-most, vmax=most, aspect="auto")
        # A faint color is hardly told from white.
        y, x = np.nonzero(np.nan_to_num(_points(one)))
        axis.plot(x, y, ".", color="0.2", markersize=1.5)
        names, beside = row_labels(
            f"{lettered(n)}{' *' if like else ''}" for n, like in zip(one.corruptions, one.alike, strict=True)
        )
        axis.set_yticks(range(len(names)), names if position % _ACROSS == 0 or any(one.alike) else [""] * len(names))
        axis.set_xticks(range(len(one.severities)), [str(severity) for severity in one.severities])
        axis.tick_params(length=0)
        entitle(axis, lettered(one.level), beside=_BAR + beside * (_ACROSS if starred else 1))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label="Percentage points")
    bar.outline.set_linewidth(0.4)
    describe(figure, "Severity (dot: the interval does not hold 0; *: trained on the like of it)")
    return figure


def _points(one: HeatMap) -> np.ndarray:
    """Return differences in percentage points, ``[corruptions, severities]``, 0 where they are not told from 0."""
    return np.array(
        [
            [math.nan if cell is None else 100 * cell.value if told_apart(cell) else 0.0 for cell in row]
            for row in one.cells
        ]
    )


def severity_figure(results: StudyResults, falls: list[Course]) -> Figure | None:
    """Draw accuracy against severity, a panel a family of conditions and a line a level, with bands over seeds."""
    if not falls:
        return None
    figure, axes = panels(len(falls), TEXT, 1.6, _ACROSS)
    for axis, fall in zip(axes, falls, strict=True):
        _course(axis, results, fall)
    figure.supylabel("Accuracy (band: 95% interval of the mean over seeds)", fontsize=7)
    describe(figure, "Severity")
    level_legend(figure, results)
    return figure


def _course(axis: Axes, results: StudyResults, fall: Course) -> None:
    styles = styles_of(results.factor)
    at = np.arange(len(fall.severities) + 1)
    for line in fall.lines:
        look = styles[line.level]
        low, value, high = (np.array([getattr(p, end) for p in line.points]) for end in ("low", "value", "high"))
        axis.fill_between(at, low, high, color=look.color, alpha=0.15, linewidth=0)
        axis.plot(at, value, color=look.color, marker=look.marker, markersize=2.5, linewidth=1)
    axis.set_xticks(at, ["clean", *map(str, fall.severities)])
    entitle(axis, lettered(fall.family))
