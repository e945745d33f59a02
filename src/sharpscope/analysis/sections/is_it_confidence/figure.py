"""The share of each difference that is left at equal confidence."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sharpscope.analysis.drawing.figures import TEXT, describe, entitle, name_levels, panels, row_labels, rows_of
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults, by
from sharpscope.analysis.sections.is_it_confidence.data import twins_of

_MARKERS = ("s", "D")


def shares(results: StudyResults, table: pd.DataFrame) -> Figure | None:
    """Draw the share of every difference that each twin has; None where no difference has one."""
    known = table[table["retained"].map(math.isfinite)]
    names, twins, factor = list(dict.fromkeys(known["quantity"])), twins_of(table), results.factor
    levels = [level for level in results.levels if level in set(known[factor.name])]
    if not names:
        return None
    figure, axes = panels(len(names), TEXT, 0.45 + 0.16 * len(levels), 3)
    styles, (labels, beside) = styles_of(factor), row_labels(map(lettered, levels))
    for place, (axis, name) in enumerate(zip(axes, names, strict=True)):
        of_name = known[known["quantity"] == name]
        for lane, (twin, marker) in enumerate(zip(twins, _MARKERS, strict=False)):
            for level, row in by(of_name[of_name["at"] == twin], factor.name).items():
                color, y = styles[level].color, levels.index(level) + 0.3 * (lane - (len(twins) - 1) / 2)
                axis.plot([row["retained_low"], row["retained_high"]], [y, y], color=color, linewidth=1, alpha=0.6)
                axis.plot([row["retained"]], [y], color=color, marker=marker, markersize=3.4, linestyle="")
        for mark in (0, 1):
            axis.axvline(mark, color="0.75", linewidth=0.6, zorder=0)
        entitle(axis, lettered(results.quantities[name].label), beside=beside)
        axis.locator_params(axis="x", nbins=4)
        rows_of(axis, labels, named=place % 3 == 0)
    describe(figure, "Share of the difference at the end of training, with 95% interval")
    name_levels(figure, results)
    handles = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", markersize=4, label=told)
        for told, marker in zip(twins.values(), _MARKERS, strict=False)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure
