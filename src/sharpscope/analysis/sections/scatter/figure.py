"""Every measure against train loss, generalization gap and calibration error, a point a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from sharpscope.analysis.drawing import TEXT, logarithmic, panels, regime_legend
from sharpscope.analysis.lettering import lettered
from sharpscope.analysis.palette import looks
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.scale import spans_decades


def drawings(results: StudyResults) -> dict[str, Callable[[], Figure | None]]:
    """Return what draws each figure, at the end of training and at every matched train loss."""
    found: dict[str, Callable[[], Figure | None]] = {}
    for level in ("", *results.levels):
        which = f"measures_at_loss_{level}" if level else "measures"
        found[f"{which}_vs_train_loss"] = partial(_scatter, results, results.across("train_loss").get(level), level)
        for x in ("generalization_gap", "ece"):
            found[f"{which}_vs_{x}"] = partial(_scatter, results, x, level)
    return found


def _scatter(results: StudyResults, x: str | None, level: str) -> Figure | None:
    measures = results.measures(level)
    if x not in results.measured or not measures:
        return None
    figure, axes = panels(len(measures), TEXT, 1.55, 4)
    ledger, styles = results.ledger, looks(results.regimes)
    decades = x == "train_loss" and bool((ledger[x].dropna() > 0).all())
    for axis, measure in zip(axes, measures, strict=True):
        for regime, look in styles.items():
            runs = ledger[ledger["regime"] == regime]
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
    at_end = level and not results.quantities[x].level
    when = f"{' at the end of training' if at_end else ''}; measures at train loss {level}" if level else ""
    unsure = "; hollow: did not converge" if any(results.unconverged(name).any() for name in measures) else ""
    figure.supxlabel(f"{label}{when}{unsure}", fontsize=7)
    regime_legend(figure, results)
    return figure
