"""Reliability diagrams, a panel a level of the factor."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, cell_label, describe, entitle
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.reliability.data import Axis, Panel, accuracies, over_settings
from sharpscope.safety.diagram import DOUBT

MOST = 12  # panels, that one page has room for


def diagrams(results: StudyResults, panels: list[Panel]) -> Figure:
    """Draw accuracy against confidence, a panel a level and setting, and below how confidence is spread.

    Where these are more than ``MOST``, a panel a level has all settings together.
    """
    together = len(panels) > MOST
    shown = over_settings(results) if together else panels
    figure, pairs = _places(len(shown))
    axis, foot, styles = Axis.of(shown), accuracies(shown), styles_of(results.factor)
    for (above, below), panel in zip(pairs, shown, strict=True):
        color = styles[panel.level].color
        _reliability(above, panel, axis, foot, color)
        above.set(xlim=(-2, 102), ylim=(foot, 1 + 0.02 * (1 - foot)))
        name = cell_label(results.factor.told(panel.level), panel.group, between="\n")
        entitle(above, f"{name}\n{panel.told}", size=6)
        _doubts(below, panel, color)
    figure.supylabel("Accuracy (band: 90% of calibrated models)", fontsize=7)
    note = "; all settings together" if together else ""
    describe(figure, f"Above: confidence. Below: how many predictions have which 1 - confidence{note}")
    return figure


def _places(count: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure with so many panels, each with a lower one; unused places of its grid stay empty."""
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(TEXT, rows * 2.6 + 0.45), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[4, 1] * rows)
    pairs = list(zip(axes[::2].ravel(), axes[1::2].ravel(), strict=True))
    for unused in (place for pair in pairs[count:] for place in pair):
        unused.remove()
    return figure, pairs[:count]


def _reliability(place: Axes, panel: Panel, axis: Axis, foot: float, color: str) -> None:
    x, y = zip(*axis.diagonal(foot), strict=True)
    place.plot(x, y, color="0.7", linewidth=0.7, zorder=0)
    at = [axis.at(confidence) for confidence in panel.bins["confidence"]]
    place.fill_between(at, panel.bins["low"], panel.bins["high"], color="0.5", alpha=0.2, linewidth=0, zorder=0)
    for _, run in panel.runs.groupby("run_id", sort=False):
        place.plot([axis.at(c) for c in run["confidence"]], run["accuracy"], color=color, linewidth=0.4, alpha=0.35)
    place.plot(at, panel.bins["accuracy"], color=color, marker="o", markersize=2, linewidth=1.2)
    places, texts = zip(*axis.ticks, strict=True)
    place.set_xticks(places, texts)


def _doubts(place: Axes, panel: Panel, color: str) -> None:
    decades = np.log10(DOUBT)
    place.bar(decades[:-1], panel.doubt, width=np.diff(decades), align="edge", color=color, alpha=0.6, linewidth=0)
    # Confidence grows to the right, as above.
    place.set(xlim=(decades[-1], decades[0]), yticks=[])
    place.set_xticks([0, -2, -4, -6, -8], ["1", "0.01", "1e-4", "1e-6", "1e-8"])
