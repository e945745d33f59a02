"""How the size of a course is told: by its line, by its two ends, and without more certainty than its seeds give."""

from __future__ import annotations

import math

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.axis import is_name
from sharpscope.analysis.dose.trends import NOT_MONOTONE
from sharpscope.analysis.results import TableRow
from sharpscope.analysis.tested import LEAST_SEEDS


def change(row: TableRow) -> str:
    """Return the change from end to end by a straight line, with its interval: "×3.2 [2.9, 3.6]"."""
    return numbers.change(row["scale"], row["change"], row["ci_low"], row["ci_high"])


def bends(row: TableRow) -> bool:
    """Return whether a course bends for sure, so that its line does not say how far its two ends lie apart."""
    same = 1.0 if row["scale"] == "ratio" else 0.0
    sure = row["bend_low"] > same or row["bend_high"] < same
    return bool(sure) and row["shape"] != NOT_MONOTONE and row["line_n"] >= LEAST_SEEDS


def straight(row: TableRow) -> bool:
    """Return whether nothing is known against a straight line as the size of a course."""
    return not bends(row) and row["shape"] != NOT_MONOTONE


def ends_told(row: TableRow) -> str:
    """Return how far the last level lies from the first, with its interval: "×8.0 [7.8, 8.1]"."""
    return numbers.change(row["scale"], row["ends"], row["ends_low"], row["ends_high"])


def size_told(row: TableRow) -> str:
    """Return the change from end to end: of a course that bends that of its two ends, with that of its line."""
    return f"{ends_told(row)} (by a straight line {change(row)})" if bends(row) else change(row)


def size_cell(row: TableRow, end: TableRow) -> str:
    """Return the change from end to end as a cell of a table has it: with its levels if they are not those of the end.

    Args:
        row: The change.
        end: That at the end of training.
    """
    if row["line_n"] < LEAST_SEEDS:
        told = numbers.change(row["scale"], row["change"], math.nan, math.nan)
    else:
        told = size_told(row)
    turned = " (by a straight line, not monotone)" if row["shape"] == NOT_MONOTONE else ""
    levels = range_told(row, end)
    return f"{told}{turned}{levels and f', {levels}'}"


def range_told(row: TableRow, end: TableRow) -> str:
    """Return between which levels a change is told, "from 0.5 to 0.8"; empty if they are those of that at the end."""
    same = (row["line_first"], row["line_last"]) == (end["line_first"], end["line_last"])
    return "" if same else f"from {row['line_first']} to {row['line_last']}"


def levels_told(row: TableRow) -> str:
    """Return the levels between which a change is told: "data.factor 0.5 to 0.95", "baseline to sam.rho 0.1"."""
    first, last = row["line_first"], row["line_last"]
    if is_name(first) and not is_name(last):
        return f"{first} to {row['factor']} {last}"
    return f"{row['factor']} {first} to {last}"


def tau_told(row: TableRow) -> str:
    """Return the mean trend, with its interval where seeds are enough for one."""
    return correlation_told(row["tau"], row["tau_low"], row["tau_high"], row["n"])


def way_told(row: TableRow) -> str:
    """Return which way a trend goes, as a verb."""
    return "rises" if row["tau"] > 0 else "falls"


def p_told(row: TableRow) -> str:
    """Return the p-value of a trend, corrected: "p = 0.0020", "p < 0.0001"."""
    return f"p\u00a0=\u00a0{numbers.p_value(row['p_adjusted'])}".replace("=\u00a0< ", "<\u00a0")


def correlation_told(value: float, low: float, high: float, seeds: float) -> str:
    """Return a mean correlation, with its interval where seeds are enough for one."""
    return numbers.correlation(value, low, high) if seeds >= LEAST_SEEDS else numbers.fixed(value, 2)
