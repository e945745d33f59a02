"""The sizes of differences in sharpness, as the page draws and lists them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.explanations.loss import ADJUSTED
from sharpscope.analysis.explanations.told_remains import told_unlike
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.analysis.sizes import BOTH, HELD
from sharpscope.analysis.verdicts import CONFIDENCE, END
from sharpscope.analysis.wording import fewer, like_text
from sharpscope.store.snapshots import CALIBRATED, MATCHED

_WAYS = {MATCHED: "", ADJUSTED: "adjusted"}


def conditions_of(table: pd.DataFrame) -> dict[str, str]:
    """Return the conditions that the study can make, each with how it is told."""
    present = set(table["condition"])
    return {condition: told for condition, told in HELD.items() if condition in present}


def by_measure(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each measure, in the order of the table."""
    return {str(name): part for name, part in table.groupby("quantity", sort=False)}


def is_ratio(part: pd.DataFrame) -> bool:
    """Return whether the differences of a measure at the end are told as factors."""
    return bool((part.loc[part["condition"] == END, "scale"] == "ratio").all())


def drawable(part: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a measure that lie on its axis: those told as that at the end is."""
    return part[part["end_difference"].isna()]


def axis_of(table: pd.DataFrame, part: pd.DataFrame) -> Scale:
    """Return the axis of a measure: one for all that are told as factors, so that these compare; else its own."""
    ratios = is_ratio(part)
    shown = drawable(pd.concat([p for p in by_measure(table).values() if is_ratio(p)]) if ratios else part)
    ends = shown[["difference", "ci_low", "ci_high"]].to_numpy(float).ravel()
    ends = np.append(ends[np.isfinite(ends)], nothing(ratio=ratios))
    return Scale(float(ends.min()), float(ends.max()), logarithmic=ratios)


def nothing(*, ratio: bool) -> float:
    """Return what no difference is: a factor of 1, or 0."""
    return 1.0 if ratio else 0.0


def panels_of(results: StudyResults, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each measure's panel draws: a row a level, in it a lane a condition, in hundredths of the axis."""
    conditions, styles, panels = conditions_of(table), styles_of(results.factor), []
    for name, part in by_measure(table).items():
        axis, ratio = axis_of(table, part), is_ratio(part)
        rows = []
        for level, of_level in part.groupby(results.factor.name, sort=False):
            found = by(of_level, "condition")
            lanes = [_lane(axis, found.get(condition)) for condition in conditions]
            tip = [
                (f"At {told}{_how(found[condition])}", _told(found[condition], found[END]["n"]))
                for condition, told in conditions.items()
                if condition in found
            ]
            row = {"label": level, "color": styles[str(level)].color, "lanes": lanes}
            rows.append({**row, "tip": [(results.factor.title, level), *tip]})
        quantity = results.quantities[name]
        notes = ["log scale" if ratio else "", quantity.direction]
        panels.append(
            {
                "title": quantity.label,
                "note": ", ".join(filter(None, notes)),
                "described": f"{quantity.label} of each {results.factor.noun} against {results.reference}",
                "rows": rows,
                "ticks": [(at, f"{numbers.TIMES}{text}" if ratio else text) for at, text in axis.ticks()],
                "zero": axis.at(nothing(ratio=ratio)),
            }
        )
    return panels


def notes_of(results: StudyResults, table: pd.DataFrame) -> list[str]:
    """Return where ratios are given up that are told at the end, so that there is no mark, in sentences."""
    twins = {CALIBRATED: "the end, calibrated", MATCHED: HELD[CONFIDENCE]}
    both = dict.fromkeys(table.loc[table["condition"] == BOTH, "at"], HELD[BOTH])
    found = told_unlike(results, table, {**twins, **both})
    return [f"{sentence.removesuffix('.')} in the table, and the picture has no mark of it." for sentence in found]


def table_rows(results: StudyResults, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each measure and level with its difference under each condition, as text."""
    rows = []
    for (name, level), part in table.groupby(["quantity", results.factor.name], sort=False):
        found = by(part, "condition")
        cells = [_told(found[c], found[END]["n"]) if c in found else numbers.MISSING for c in conditions_of(table)]
        rows.append({"label": results.quantities[str(name)].label, "level": level, "cells": cells})
    return rows


def _told(row: TableRow, seeds: int) -> str:
    less = fewer(row, seeds)
    return f"{like_text(row)}{less and f' ({less})'}"


def _lane(axis: Scale, row: TableRow | None) -> dict[str, float] | None:
    if row is None or math.isfinite(row["end_difference"]):
        return None
    low, high = (row[end] if math.isfinite(row[end]) else row["difference"] for end in ("ci_low", "ci_high"))
    return {"at": axis.at(row["difference"]), "low": axis.at(low), "high": axis.at(high)}


def _how(row: TableRow) -> str:
    """Return how a condition was made, as far as that is not the usual way, in brackets: " (0.1, calibrated)"."""
    told = [_WAYS.get(part, part) for part in row["at"].split("~")]
    return f" ({', '.join(filter(None, told))})" if any(told) else ""
