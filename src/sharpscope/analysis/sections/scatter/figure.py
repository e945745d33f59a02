"""Every measure against train loss, generalization gap and calibration error, a point a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from sharpscope.analysis.drawing import TEXT, level_legend, logarithmic, panels
from sharpscope.analysis.lettering import lettered
from sharpscope.analysis.palette import styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.scale import spans_decades


def drawings(results: StudyResults) -> dict[str, Callable[[], Figure | None]]:
    """Return what draws each figure, at the end of training and at every matched train loss."""
    found: dict[str, Callable[[], Figure | None]] = {}
    for loss in ("", *results.losses):
        which = f"measures_at_loss_{loss}" if loss else "measures"
        found[f"{which}_vs_train_loss"] = partial(_scatter, results, results.across("train_loss").get(loss), loss)
        for x in ("generalization_gap", "ece"):
            found[f"{which}_vs_{x}"] = partial(_scatter, results, x, loss)
    return found


def _scatter(results: StudyResults, x: str | None, loss: str) -> Figure | None:
    measures = results.measures(loss)
    if x not in results.measured or not measures:
        return None
    figure, axes = panels(len(measures), TEXT, 1.55, 4)
    ledger, factor, styles = results.runs, results.factor, styles_of(results.factor)
    decades = x == "train_loss" and bool((ledger[x].dropna() > 0).all())
    for axis, measure in zip(axes, measures, strict=True):
        for level in results.levels:
            look, runs = styles[level], ledger[ledger[factor.name] == level]
            hollow = results.unconverged(measure)[runs.index]
            solid: dict[str, Any] = {"c": look.color, "linewidths": 0.3, "edgecolors": "white"}
            open_: dict[str, Any] = {"facecolors": "none", "linewidths": 0.6, "edgecolors": look.color}
            for part, style in ((runs[~hollow], solid), (runs[hollow], open_)):
                axis.scatter(part[x], part[measure], s=11, marker=look.marker, alpha=0.9, **style)
        if decades:
            logarithmic(axis, "x")
        else:
            axis.locator_params(axis="x", nbins=4)
        if spans_decades(ledger[measure].to_numpy(float)):
            logarithmic(axis, "y")
        axis.set_title(lettered(results.quantities[measure].short_label))
    label = lettered(results.quantities[x].label) + (" (log scale)" if decades else "")
    at_end = loss and not results.quantities[x].matched_loss
    when = f"{' at the end of training' if at_end else ''}; measures at train loss {loss}" if loss else ""
    unsure = "; hollow: did not converge" if any(results.unconverged(name).any() for name in measures) else ""
    figure.supxlabel(f"{label}{when}{unsure}", fontsize=7)
    level_legend(figure, results)
    return figure
