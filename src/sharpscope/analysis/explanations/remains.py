"""What is left of a difference where something else is held equal, such as the train loss or the confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharpscope.analysis.contrasts import Contrast
from sharpscope.analysis.results import TableRow
from sharpscope.analysis.statistics import Bounds
from sharpscope.analysis.statistics.loss import retained
from sharpscope.numpy_stream import NumpyStream

# What became of a difference that is there at the end; what is there, and was not seen at the end, appears.
REMAINS, NOT_SEEN, TURNED, APPEARS = "remains", "not seen", "turned", "appears"

_TOLD = ("n", "scale", "difference", "ci_low", "ci_high")
COLUMNS = (*_TOLD, "retained", "retained_low", "retained_high", "became")


def remaining(test: TableRow, end: TableRow, left: Bounds | None = None) -> dict[str, Any]:
    """Return what a row of a table says of a difference at another place than the end.

    Args:
        test: The difference there.
        end: That at the end of training.
        left: The share of it that is there; None where there is none.
    """
    return {**at_end(test), **_share(left), "became": became(test, end)}


def at_end(test: TableRow) -> dict[str, Any]:
    """Return what a row of a table says of a difference at the end of training, of which nothing is left or lost."""
    return {**{key: test[key] for key in _TOLD}, **_share(None), "became": ""}


def _share(left: Bounds | None) -> dict[str, float]:
    ends = (left.value, left.low, left.high) if left is not None else (np.nan,) * 3
    return dict(zip(("retained", "retained_low", "retained_high"), map(float, ends), strict=True))


def share_of(there: Contrast, end: Contrast, stream: NumpyStream) -> Bounds | None:
    """Return the share of a difference at the end that is there; None where the two are not told on one scale."""
    scales = (there.tested.scaled, end.tested.scaled)
    if scales[0].scale != scales[1].scale or any(scaled.not_positive for scaled in scales):
        return None
    return retained(there.wide.values, end.wide.values, stream)


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
