"""How sharpness goes with complexity given the loss, and with the loss given complexity."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sharpscope.analysis.drawing.figures import TEXT, describe, entitle, panels, row_labels, rows_of
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.explanations.complexity import ON_COMPLEXITY, ON_LOSS
from sharpscope.analysis.results import StudyResults, by
from sharpscope.analysis.sections.is_it_complexity.data import (
    ENTERS,
    RELATIONS,
    ROWS,
    coefficient,
    row_label,
    share_panels,
)

_LOOKS: dict[str, dict[str, Any]] = {
    ON_COMPLEXITY: {"marker": "o", "markerfacecolor": "0.2"},
    ON_LOSS: {"marker": "s", "markerfacecolor": "white"},
}


def dumbbells(results: StudyResults, partials: pd.DataFrame) -> Figure | None:
    """Draw a panel a measure of sharpness, in it a row a measure of complexity and place; None without coefficients."""
    partials = partials.dropna(subset="correlation")
    if partials.empty:
        return None
    measures = {str(name): part for name, part in partials.groupby("measure", sort=False)}
    keys = partials[ROWS].drop_duplicates().to_numpy(str).tolist()
    figure, axes = panels(len(measures), TEXT, 0.45 + 0.22 * len(keys), 3)
    labels, beside = row_labels(lettered(row_label(results, *key)) for key in keys)
    for place, (axis, (name, part)) in enumerate(zip(axes, measures.items(), strict=True)):
        for at, key in enumerate(keys):
            _row(axis, part[(part[ROWS] == key).all(axis=1)], at)
        axis.axvline(0, color="0.6", linewidth=0.7, zorder=0)
        entitle(axis, lettered(results.quantities[name].label), beside=beside)
        axis.set(xlim=(-1.05, 1.05), xticks=(-1, -0.5, 0, 0.5, 1))
        rows_of(axis, labels, named=place % 3 == 0)
    describe(figure, f"{lettered(coefficient(results))}, with 95% interval over seeds")
    handles = [
        Line2D([], [], color="0.2", linestyle="", markersize=4, label=f"with {told}", **_LOOKS[relation])
        for relation, told in RELATIONS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def explained(results: StudyResults, shares: pd.DataFrame) -> Figure | None:
    """Draw a panel a measure of sharpness and of complexity: what each predictor explains; None without shares."""
    found = share_panels(results, shares)
    if not found:
        return None
    figure, axes = panels(len(found), TEXT, 1.2, 2)
    for place, (axis, panel) in enumerate(zip(axes, found, strict=True)):
        for at, row in enumerate(panel["rows"]):
            _lanes(axis, row["lanes"], at)
        axis.set_title(f"{lettered(panel['title'])}\n{lettered(panel['note'])}")
        labels = ["Train loss", "Complexity", lettered(panel["rows"][2]["label"])]
        axis.set_yticks(range(3), [] if place % 2 else labels)
        axis.set_xticks(*zip(*panel["ticks"], strict=True))
        axis.set(xlim=(-2, 100), ylim=(2.5, -0.5))
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    figure.supxlabel("Share of the variation within seeds, with 95% interval over seeds", fontsize=7)
    handles = [
        Line2D([], [], color="0.2", linestyle="", markersize=4, label=told, **look)
        for told, look in zip(ENTERS, _LOOKS.values(), strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def _lanes(axis: Axes, lanes: list[dict[str, float] | None], at: int) -> None:
    """Draw how much a predictor explains when it enters first and last, joined by a line."""
    known = [
        (at + 0.3 * (place - 0.5), lane, look)
        for place, (lane, look) in enumerate(zip(lanes, _LOOKS.values(), strict=True))
        if lane is not None
    ]
    axis.plot([lane["at"] for _, lane, _ in known], [y for y, _, _ in known], color="0.6", linewidth=0.5)
    for y, lane, look in known:
        axis.plot([lane["low"], lane["high"]], [y, y], color="0.5", linewidth=1)
        axis.plot([lane["at"]], [y], color="0.2", markersize=3.6, linestyle="", **look)


def _row(axis: Axes, part: pd.DataFrame, at: int) -> None:
    """Draw the relations of one measure of complexity, joined by a line."""
    rows = by(part, "relation")
    heights = {relation: at + 0.3 * (lane - 0.5) for lane, relation in enumerate(RELATIONS) if relation in rows}
    axis.plot([rows[r]["correlation"] for r in heights], list(heights.values()), color="0.6", linewidth=0.5)
    for relation, y in heights.items():
        row = rows[relation]
        axis.plot([row["ci_low"], row["ci_high"]], [y, y], color="0.5", linewidth=1)
        axis.plot([row["correlation"]], [y], color="0.2", markersize=3.6, linestyle="", **_LOOKS[relation])
