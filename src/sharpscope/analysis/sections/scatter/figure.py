"""Sharpness and complexity against train loss, generalization gap and calibration error; sharpness against complexity.

A point is a run. Controls have no panels, unless there is nothing else: they can be chosen in the plot of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, describe, entitle, level_legend, panels, suit
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import Style, styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.scatter.axis import on_log_axis


def drawings(results: StudyResults) -> dict[str, Callable[[], Figure | None]]:
    """Return what draws each figure, at the end of training and at every matched train loss."""
    found: dict[str, Callable[[], Figure | None]] = {}
    complexities = [name for name in results.of_kind("complexity") if not results.quantities[name].twin]
    for loss in ("", *results.losses):
        which = f"measures_at_loss_{loss}" if loss else "measures"
        for x in ("train_loss", *complexities):
            found[f"{which}_vs_{x}"] = partial(_scatter, results, results.across(x).get(loss), loss)
        for x in ("generalization_gap", "ece"):
            found[f"{which}_vs_{x}"] = partial(_scatter, results, x, loss)
    return found


def _scatter(results: StudyResults, x: str | None, loss: str) -> Figure | None:
    if x not in results.measured:
        return None
    measures = _shown(results, x, loss)
    if not measures:
        return None
    figure, axes = panels(len(measures), TEXT, 1.55, 4)
    across, log_x = results.runs[x].to_numpy(float), on_log_axis(results, x)
    of_level = results.runs[results.factor.name].to_numpy()
    runs = {level: of_level == level for level in results.levels}
    for axis, measure in zip(axes, measures, strict=True):
        up, hollow = results.runs[measure].to_numpy(float), results.unconverged(measure).to_numpy(bool)
        for level, look in styles_of(results.factor).items():
            if level in runs:
                _points(axis, across, up, runs[level], hollow, look)
        suit(axis, "x", log=log_x)
        suit(axis, "y", log=on_log_axis(results, measure))
        entitle(axis, lettered(results.quantities[measure].short_label))
    label = lettered(results.quantities[x].label) + (" (log scale)" if log_x else "")
    at_end = loss and not results.quantities[x].matched_loss
    when = f"{' at the end of training' if at_end else ''}; measures at train loss {loss}" if loss else ""
    unsure = "; hollow: did not converge" if any(results.unconverged(name).any() for name in measures) else ""
    describe(figure, f"{label}{when}{unsure}")
    level_legend(figure, results)
    return figure


def _shown(results: StudyResults, x: str, loss: str) -> list[str]:
    """Return the measures that are set against ``x``."""
    kinds = ["sharpness"] if results.quantities[x].kind == "complexity" else ["sharpness", "complexity"]
    found = [name for name in results.measures(loss) if name != x]
    return [name for name in found if results.quantities[name].kind in kinds] or found


def _points(axis: Axes, x: np.ndarray, y: np.ndarray, runs: np.ndarray, hollow: np.ndarray, look: Style) -> None:
    """Draw the runs of a level, those hollow that did not converge."""
    solid: dict[str, Any] = {"c": look.color, "linewidths": 0.3, "edgecolors": "white"}
    open_: dict[str, Any] = {"facecolors": "none", "linewidths": 0.6, "edgecolors": look.color}
    for chosen, style in ((runs & ~hollow, solid), (runs & hollow, open_)):
        if chosen.any():
            axis.scatter(x[chosen], y[chosen], s=11, marker=look.marker, alpha=0.9, **style)
