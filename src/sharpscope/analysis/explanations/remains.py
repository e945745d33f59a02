"""What is left of a difference where something else is held equal, such as the train loss or the confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharpscope.analysis.contrasts import Contrast, contrast
from sharpscope.analysis.results import TableRow
from sharpscope.analysis.statistics import Bounds
from sharpscope.analysis.statistics.loss import retained
from sharpscope.analysis.tested import LEAST_SEEDS
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

# What became of a difference that is there at the end; what is there, and was not seen at the end, appears.
REMAINS, NOT_SEEN, TURNED, APPEARS = "remains", "not seen", "turned", "appears"
TOO_FEW = "too few seeds"  # that are there, for an interval of 95%

_TOLD = ("n", "scale", "difference", "ci_low", "ci_high")
_END = {"difference": "end_difference", "ci_low": "end_low", "ci_high": "end_high"}
COLUMNS = (
    *(*_TOLD, "retained", "retained_low", "retained_high", "became"),
    *(*_END.values(), "not_positive", "values"),
)


def left_at(values: Values, column: str, end: Contrast, told: TableRow, stream: NumpyStream) -> dict[str, Any]:
    """Return what is left of a difference at the end in another column of the quantity, as a row of a table.

    Both are told on one scale: where ratios are given up in the other column, for ``not_positive`` of its ``values``,
    the row has the difference at the end on that scale too.

    Args:
        values: The numbers of the study.
        column: The other column.
        end: The difference at the end.
        told: The same, described.
        stream: Where resamples are drawn from.
    """
    name, level = end.tested.quantity, end.tested.level
    there = contrast(values, column, level, values.alike(column, name))
    beside: dict[str, Any] = {}
    scaled = there.tested.scaled
    if scaled.scale != end.tested.scaled.scale:
        end = contrast(values, name, level, values.alike(name, column))
        told = end.tested.described(values.results)
        beside = {key: told[part] for part, key in _END.items()}
        beside |= {"not_positive": scaled.not_positive, "values": scaled.values}
    test = there.tested.described(values.results)
    left = share_of(there, end, stream) if test["n"] else None
    return {**at_end(test), **share_columns(left), **beside, "became": outcome(test, told)}


def at_end(test: TableRow) -> dict[str, Any]:
    """Return what a row of a table says of a difference at the end of training, of which nothing is left or lost."""
    nothing = dict.fromkeys((*_END.values(), "not_positive", "values"), np.nan)
    return {**{key: test[key] for key in _TOLD}, **share_columns(None), **nothing, "became": ""}


def share_columns(left: Bounds | None) -> dict[str, float]:
    """Return a share that is left as columns of a table; NaN where there is none."""
    ends = (left.value, left.low, left.high) if left is not None else (np.nan,) * 3
    return dict(zip(("retained", "retained_low", "retained_high"), map(float, ends), strict=True))


def share_of(there: Contrast, end: Contrast, stream: NumpyStream) -> Bounds | None:
    """Return the share of a difference at the end that is there; None where the two are not told on one scale."""
    scales = (there.tested.scaled, end.tested.scaled)
    if scales[0].scale != scales[1].scale or any(scaled.not_positive for scaled in scales):
        return None
    return retained(there.wide.values, end.wide.values, stream)


def outcome(there: TableRow, end: TableRow) -> str:
    """Return what became of a difference, or that there are too few seeds to tell; empty where there is none."""
    return TOO_FEW if 0 < there["n"] < LEAST_SEEDS else became(there, end)


def became(there: TableRow, end: TableRow) -> str:
    """Return what became of a difference by the interval that it has somewhere else; empty where it has none."""
    if not (np.isfinite(there["ci_low"]) and np.isfinite(there["ci_high"])):
        return ""
    side, before = side_of(there), side_of(end)
    if not side:
        return NOT_SEEN
    if not before:
        return APPEARS
    return REMAINS if side == before else TURNED


def side_of(row: TableRow) -> int:
    """Return on which side of equality an interval lies; 0 where it holds it."""
    same = 1.0 if row["scale"] == "ratio" else 0.0
    return int(row["ci_low"] > same) - int(row["ci_high"] < same)
