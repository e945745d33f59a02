"""How large each difference in sharpness is: as it is, and where loss, confidence, or both are held equal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sharpscope.analysis.contrasts import Contrast, contrast
from sharpscope.analysis.explanations.confidence import CLOSEST, CONFIDENCE_STREAM, closest, primary_at_end, twin_column
from sharpscope.analysis.explanations.loss import ADJUSTED, decisive
from sharpscope.analysis.explanations.remains import at_end, left_at
from sharpscope.analysis.explanations.told_remains import by_place
from sharpscope.analysis.results import StudyResults, TableRow
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts import CONDITIONS, CONFIDENCE, END, LOSS
from sharpscope.store.snapshots import twin_at

BOTH = "both"
HELD = {**CONDITIONS, BOTH: "equal train loss and confidence"}

_COLUMNS = (
    *("n", "scale", "difference", "ci_low", "ci_high"),
    *("end_difference", "end_low", "end_high", "not_positive", "values"),
)


def sizes_table(results: StudyResults, remains: pd.DataFrame, confidence: pd.DataFrame) -> pd.DataFrame:
    """Return one row a primary measure of sharpness, level and condition: the difference to the reference there.

    The conditions are the ``end`` of training, equal train ``loss``, equal ``confidence``, and ``both``; one that the
    study cannot make has no row. ``at`` tells how it was made: the matched loss, or that the loss was adjusted for; the
    twin; or both, as ``0.1~matched_confidence``. ``end_difference`` is as in ``confidence_table``.

    Args:
        results: What the study found.
        remains: What is left of differences at equal train loss; see ``remains_table``.
        confidence: What is left of them at equal confidence; see ``confidence_table``.
    """
    columns = ["quantity", results.factor.name, "condition", "at", *_COLUMNS]
    return pd.DataFrame(_rows(results, remains, confidence), columns=columns)


def _rows(results: StudyResults, remains: pd.DataFrame, confidence: pd.DataFrame) -> Iterator[dict[str, Any]]:
    values = Values(results)
    of_loss, of_twins = by_place(results, decisive(remains)), by_place(results, closest(confidence))
    for name in primary_at_end(results, "sharpness"):
        for level in values.others:
            end = contrast(values, name, level)
            told = end.tested.described(results)
            if not told["n"]:
                continue
            key = name, level
            found = {
                END: {**at_end(told), "at": ""},
                LOSS: of_loss.get(key),
                CONFIDENCE: of_twins.get(key),
                BOTH: _both(values, end, told, of_loss.get(key)),
            }
            for condition, row in found.items():
                if row is not None and math.isfinite(row["difference"]):
                    told_of = {part: row[part] for part in ("at", *_COLUMNS)}
                    yield {"quantity": name, results.factor.name: level, "condition": condition, **told_of}


def _both(values: Values, end: Contrast, told: TableRow, at_loss: TableRow | None) -> TableRow | None:
    """Return the difference between twins at the matched loss that tells best; None where there are none."""
    if at_loss is None or at_loss["at"] == ADJUSTED:
        return None
    name, loss = end.tested.quantity, at_loss["at"]
    for twin in CLOSEST:
        found = twin_column(values.results, name, twin, loss)
        row = left_at(values, found, end, told, CONFIDENCE_STREAM) if found is not None else {"n": 0}
        if row["n"]:
            return {**row, "at": twin_at(loss, twin)}
    return None
