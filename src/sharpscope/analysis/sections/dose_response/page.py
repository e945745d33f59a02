"""Dose and response, as the page draws and lists it: everything in hundredths of a panel's width."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.dose.sizes import size_cell, tau_told
from sharpscope.analysis.dose.told import place_told
from sharpscope.analysis.drawing.palette import Style
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.results import StudyResults, TableRow, describe_moment
from sharpscope.analysis.sections.dose_response.data import (
    SHORT,
    Cloud,
    Curve,
    Panel,
    clouds_of,
    finite,
    heat_rows,
    lanes_of,
    looks_of,
    moments_of,
    other_levels,
    panels_of,
    room_for,
    runs_of,
    slope_rows,
)
from sharpscope.analysis.sections.dose_response.table import HEADER, rows_of
from sharpscope.store.snapshots import END

HEIGHT = 66.0
_LETTERS = 34.0  # that a panel has room for


def page_of(results: StudyResults, axis: Axis, table: pd.DataFrame) -> dict[str, Any]:
    """Return what the template draws and lists."""
    looks = looks_of(results, axis)
    panels, clouds = panels_of(results, axis), clouds_of(results, axis)
    losses = dict.fromkeys(curve.loss for panel in panels for curve in panel.curves)
    return {
        "axis": axis,
        "height": HEIGHT,
        "short": SHORT,
        "looks": looks,
        "panels": [_panel(results, axis, panel, looks) for panel in panels],
        "curves": [describe_moment(loss) for loss in losses],
        "banded": any(np.isfinite(panel.curves[0].low).any() for panel in panels),
        "slopes": _slopes(results, table),
        "other_levels": other_levels(results, table),
        "lanes": [place_told(at) for at in lanes_of(results, table)],
        "moments": [place_told(at) for at in moments_of(results, table)],
        "clouds": [_cloud(axis, cloud, looks) for cloud in clouds],
        "heat": _heat(results, table),
        "header": HEADER,
        "rows": rows_of(results, table),
    }


def _points(x: np.ndarray, y: np.ndarray, scale: Scale) -> str:
    return " ".join(f"{a:g},{b:g}" for a, b in zip(_across(x), _up(y, scale), strict=True))


def _across(x: np.ndarray) -> list[float]:
    return [round(100 * float(value), 1) for value in x]


def _up(y: np.ndarray, scale: Scale) -> list[float]:
    return [round(HEIGHT * (1 - scale.at(float(value)) / 100), 1) for value in y]


def _panel(results: StudyResults, axis: Axis, panel: Panel, looks: dict[str, Style]) -> dict[str, Any]:
    x, on_line, scale = axis.drawn, axis.on_line, panel.scale
    end = panel.curves[0]
    kept = room_for(axis.labels, x, _LETTERS)
    return {
        "label": panel.quantity.label,
        "note": ", ".join(
            filter(None, [panel.quantity.unit, panel.quantity.direction, "log scale" if scale.logarithmic else ""])
        ),
        "seeds": [_points(x[run], row[run], scale) for row in panel.seeds for run in runs_of(row, on_line)],
        "bands": [_band(x[run], end, run, scale) for run in runs_of(end.low, on_line)],
        "curves": [
            (order, _points(x[run], curve.value[run], scale))
            for order, curve in enumerate(panel.curves)
            for run in runs_of(curve.value, on_line)
        ],
        "dots": [
            dot
            for k, level in enumerate(axis.levels)
            if (dot := _dot(results, axis, end, k, looks[level].color, scale)) is not None
        ],
        "labels": [(round(100 * float(x[k]), 1), axis.labels[k]) for k in kept],
        "marks": _across(x),
        "ticks": [(round(HEIGHT * (1 - at / 100), 1), text) for at, text in scale.ticks()],
    }


def _band(x: np.ndarray, curve: Curve, run: np.ndarray, scale: Scale) -> str:
    return f"{_points(x, curve.high[run], scale)} {_points(x[::-1], curve.low[run][::-1], scale)}"


def _dot(results: StudyResults, axis: Axis, curve: Curve, k: int, color: str, scale: Scale) -> dict[str, Any] | None:
    if not math.isfinite(curve.value[k]):
        return None
    level = axis.levels[k]
    value, low, high = (float(end[k]) for end in (curve.value, curve.low, curve.high))
    ends = {"low": _up(np.array([low]), scale)[0], "high": _up(np.array([high]), scale)[0]} if low == low else {}
    return {
        "x": round(100 * float(axis.drawn[k]), 1),
        "y": _up(np.array([value]), scale)[0],
        "color": color,
        "hollow": level == results.reference,
        "alone": not axis.on_line[k],
        "told": f"{axis.told(level)}: {numbers.with_interval(value, low, high)}",
        **ends,
    }


def _slopes(results: StudyResults, table: pd.DataFrame) -> dict[str, Any] | None:
    """Return the panel of changes from end to end; None where none is a factor."""
    rows, moments = slope_rows(table), lanes_of(results, table)
    if not rows:
        return None
    found = [
        [by[at][end] for end in ("change", "ci_low", "ci_high")] for by in rows.values() for at in moments if at in by
    ]
    ends = np.array([*np.ravel(found), 1.0])
    scale = Scale(float(np.nanmin(ends)), float(np.nanmax(ends)), logarithmic=True)
    return {
        "title": "Change from end to end by straight lines",
        "note": "95% interval, log scale",
        "described": "The change of every measure of sharpness and complexity from end to end",
        "rows": [_slope(results, name, by, moments, scale) for name, by in rows.items()],
        "ticks": [(at, f"{numbers.TIMES}{text}") for at, text in scale.ticks()],
        "zero": scale.at(1.0),
    }


def _slope(
    results: StudyResults, name: str, by: dict[str, TableRow], moments: list[str], scale: Scale
) -> dict[str, Any]:
    label = results.quantities[name].label
    end = by.get(END)
    tip = [(f"At {place_told(at)}", size_cell(by[at], end or by[at])) for at in moments if at in by]
    return {
        "label": label,
        "color": "",
        "lanes": [_lane(by.get(at), scale) for at in moments],
        "tip": [("", label), *tip],
    }


def _lane(row: TableRow | None, scale: Scale) -> dict[str, float] | None:
    if row is None:
        return None
    low, high = (finite(row[end], row["change"]) for end in ("ci_low", "ci_high"))
    return {"at": scale.at(row["change"]), "low": scale.at(low), "high": scale.at(high)}


def _cloud(axis: Axis, cloud: Cloud, looks: dict[str, Style]) -> dict[str, Any]:
    def place(pair: np.ndarray) -> tuple[float, float]:
        return round(cloud.x.at(float(pair[0])), 1), _up(pair[1:], cloud.y)[0]

    means = [(level, place(cloud.means[:, k])) for k, level in enumerate(axis.levels) if _known(cloud.means[:, k])]
    return {
        "label": cloud.quantity.label,
        "points": [
            (*place(pair), looks[level].color)
            for k, level in enumerate(axis.levels)
            for pair in cloud.points[:, :, k].T
            if _known(pair)
        ],
        "line": " ".join(f"{x:g},{y:g}" for _, (x, y) in means),
        "means": [(x, y, looks[level].color, axis.labels[axis.levels.index(level)]) for level, (x, y) in means],
        "across": cloud.x.ticks(),
        "up": [(round(HEIGHT * (1 - at / 100), 1), text) for at, text in cloud.y.ticks()],
    }


def _known(pair: np.ndarray) -> bool:
    return bool(np.isfinite(pair).all())


def _heat(results: StudyResults, table: pd.DataFrame) -> list[dict[str, Any]]:
    moments = moments_of(results, table)
    return [
        {
            "label": results.quantities[name].label,
            "cells": [_cell(found.get(at)) for at in moments],
        }
        for name, found in heat_rows(table).items()
    ]


def _cell(row: TableRow | None) -> dict[str, Any]:
    if row is None:
        return {"text": numbers.MISSING, "sign": "", "strength": 0.0, "tip": []}
    tip = [
        ("Mean tau", tau_told(row)),
        ("Seeds that rise", f"{row['rising']} of {row['n']}"),
        ("p adjusted", numbers.p_value(row["p_adjusted"])),
    ]
    sign = "positive" if row["tau"] > 0 else "negative"
    strength = round(abs(row["tau"]), 2)
    return {"text": numbers.fixed(row["tau"], 2), "sign": sign, "strength": strength, "tip": tip}
