"""Two arms as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.arms import Arm, Curves, curves_of
from sharpscope.analysis.dose.left import held_row, losses_of
from sharpscope.analysis.dose.sizes import size_cell
from sharpscope.analysis.dose.told import place_told
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.results import Quantity, TableRow, by, records
from sharpscope.analysis.statistics.trend import LEAST_LEVELS, course_band
from sharpscope.analysis.tested import ALPHA, LEAST_SEEDS
from sharpscope.analysis.wording import counted, difference_text, joined, label_of
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END

COLORS = ("#0072B2", "#D55E00")  # told apart under every common color blindness, and on either page
_HEIGHT = 66.0
_STREAM = NumpyStream(0, "analysis", "arms")


@dataclass(frozen=True)
class Panel:
    """A measure of both arms against the same x.

    Attributes:
        quantity: The measure.
        x_label: What it is against, and where.
        x: Its axis.
        y: The axis of the measure.
        means: Of each arm the means of its levels, shape ``[2, levels]``; geometric ones of ratios.
        ends: Of each arm the ends of the band of the measure, shape ``[2, levels]``; NaN where seeds are too few.
        levels: Of each arm its levels.
    """

    quantity: Quantity
    x_label: str
    x: Scale
    y: Scale
    means: tuple[np.ndarray, np.ndarray]
    ends: tuple[np.ndarray, np.ndarray]
    levels: tuple[tuple[str, ...], tuple[str, ...]]


def panels_of(first: Arm, second: Arm) -> list[Panel]:
    """Return a panel for each measure, x and place in which the arms can be compared."""
    return [_panel(first, second, curves) for curves in curves_of(first, second)]


def _panel(first: Arm, second: Arm, curves: Curves) -> Panel:
    facts = first.values.results.quantities
    means, ends, axes = [], [], []
    for y, x in curves.arms:
        both = np.isfinite(x.means) & np.isfinite(y.means)
        pair = [np.array([one.scaled.back(value) for value in one.means]) for one in (x, y)]
        means.append(np.where(both, np.stack(pair), np.nan))
        band = course_band(np.where(both[:, None], y.by_seed, np.nan), _STREAM)
        ends.append(np.array([[y.scaled.back(value) for value in end] for end in (band.low, band.high)]))
    for place in (0, 1):
        shown = [*(one[place] for one in means), *(end.ravel() for end in ends if place)]
        known = np.concatenate([one[np.isfinite(one)] for one in shown])
        logarithmic = curves.arms[0][1 - place].scaled.scale == "ratio" and known.min() > 0
        axes.append(Scale(float(known.min()), float(known.max()), logarithmic=logarithmic))
    x_label = f"{facts[curves.x].label}{'' if curves.at == END else f' at train loss {curves.at}'}"
    levels = (first.axis.labels, second.axis.labels)
    return Panel(facts[curves.quantity], x_label, axes[0], axes[1], (means[0], means[1]), (ends[0], ends[1]), levels)


def page_of(first: Arm, second: Arm, table: pd.DataFrame) -> dict[str, Any]:
    """Return what the template draws and lists."""
    return {
        "height": _HEIGHT,
        "arms": [(arm.name, arm.axis.name, color) for arm, color in zip((first, second), COLORS, strict=True)],
        "sentences": sentences(first, second, table),
        "panels": [_drawn(panel) for panel in panels_of(first, second)],
        "rows": _sizes(first, second),
    }


def sentences(first: Arm, second: Arm, table: pd.DataFrame) -> list[str]:
    """Return how the second arm differs from the first where x is equal.

    Of each measure there is a sentence for each x and place where it is compared, and one for those where it is not.
    """
    found = []
    for _, of_measure in table.groupby("quantity", sort=False):
        rows = records(of_measure)
        found += [_sentence(first, second, row) for row in rows if row["n"] > 0]
        found += _not_compared(first, second, [row for row in rows if not row["n"] > 0])
    return found


def _not_compared(first: Arm, second: Arm, rows: Sequence[TableRow]) -> list[str]:
    """Return a sentence for each reason why a measure is not compared."""
    results = first.values.results
    of: dict[str, list[str]] = {}
    for row in rows:
        why = "one of the curves turns back"
        if not row["x_from"] < row["x_to"]:
            why = f"{first.name} and {second.name} do not overlap"
        elif row["levels"] < LEAST_LEVELS:
            why = f"too few levels lie where {first.name} and {second.name} overlap"
        where = "the end" if row["at"] == END else f"train loss {row['at']}"
        of.setdefault(why, []).append(f"{label_of(results, row['x'])} at {where}")
    return [
        f"Against {joined(places)}, {why}, so {label_of(results, rows[0]['quantity'])} is not compared there."
        for why, places in of.items()
    ]


def _sentence(first: Arm, second: Arm, row: TableRow) -> str:
    results = first.values.results
    name, x = label_of(results, row["quantity"]), label_of(results, row["x"])
    at_loss = "" if row["at"] == END else f", both at train loss {row['at']}"
    told = difference_text(row)
    where = f"At equal {x} ({_number(row['x_from'])} to {_number(row['x_to'])}{at_loss})"
    few = f" ({counted(int(row['n']), 'seed')}, too few for a test)" if row["n"] < LEAST_SEEDS else ""
    if not few and not row["p"] <= ALPHA:
        return f"{where}, {name} shows no difference between {second.name} and {first.name} ({told})."
    than = "that" if row["scale"] == "ratio" else "off that"
    return f"{where}, {name} of {second.name} is {told} {than} of {first.name}{few}."


def _number(value: float) -> str:
    return numbers.fixed(value, numbers.decimals_of(value, math.nan, math.nan))


def _sizes(first: Arm, second: Arm) -> list[dict[str, Any]]:
    """Return the change of each measure from end to end of each arm, at the end and at equal train loss."""
    found = []
    tables = [dose_table(arm.values.results) for arm in (first, second)]
    for name in first.values.results.of_kind("sharpness"):
        cells: list[str] = []
        for arm, table in zip((first, second), tables, strict=True):
            end = by(table[table["quantity"] == name], "at").get(END)
            there = held_row(table, end, losses_of(arm.values.results)) if end is not None else None
            cells += [_cell(end, end), _cell(there, end)]
        found.append({"label": first.values.results.quantities[name].label, "cells": cells})
    return found


def _cell(row: TableRow | None, end: TableRow | None) -> str:
    """Return a change as the table has it: at equal loss with the loss, and with the levels if they are other ones."""
    if row is None or end is None:
        return numbers.MISSING
    return size_cell(row, end) if row["at"] == END else f"{size_cell(row, end)} at {place_told(row['at'])}"


def _drawn(panel: Panel) -> dict[str, Any]:
    arms = []
    for means, ends, levels, color in zip(panel.means, panel.ends, panel.levels, COLORS, strict=True):
        known = [k for k in range(len(levels)) if np.isfinite(means[:, k]).all()]
        dots = [(*_place(panel, means[:, k]), levels[k]) for k in known]
        bars = [
            (_place(panel, means[:, k])[0], *(_place(panel, np.array([means[0, k], end]))[1] for end in ends[:, k]))
            for k in known
            if np.isfinite(ends[:, k]).all()
        ]
        arms.append({"color": color, "dots": dots, "bars": bars, "line": " ".join(f"{x:g},{y:g}" for x, y, _ in dots)})
    return {
        "label": panel.quantity.label,
        "x_label": panel.x_label,
        "arms": arms,
        "across": panel.x.ticks(),
        "up": [(round(_HEIGHT * (1 - at / 100), 1), text) for at, text in panel.y.ticks()],
    }


def _place(panel: Panel, pair: np.ndarray) -> tuple[float, float]:
    return round(panel.x.at(float(pair[0])), 1), round(_HEIGHT * (1 - panel.y.at(float(pair[1])) / 100), 1)
