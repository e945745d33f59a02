"""What confidence has to do with sharpness and scores, as the page shows it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sharpscope.analysis.explanations.confidence import TWINS
from sharpscope.analysis.explanations.told_remains import left_cells, told_unlike
from sharpscope.analysis.results import StudyResults, by
from sharpscope.analysis.wording import difference_text
from sharpscope.store.snapshots import CALIBRATED, END, MATCHED

UNDEFINED = "undefined"  # the share of a difference that may be zero


def twins_of(table: pd.DataFrame) -> dict[str, str]:
    """Return the twins that the study has, each with how it is told."""
    present = set(table["at"])
    return {twin: told for twin, told in TWINS.items() if twin in present}


def notes_of(results: StudyResults, table: pd.DataFrame) -> list[str]:
    """Return which twins have values for which ratios are given up, in sentences."""
    return told_unlike(results, table, {CALIBRATED: "the end, calibrated", MATCHED: "equal confidence"})


def rows_of(results: StudyResults, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each quantity and level with its difference at the end and on each twin."""
    rows, twins = [], twins_of(table)
    for (name, level), part in table.groupby(["quantity", results.factor.name], sort=False):
        places = by(part, "at")
        rows.append(
            {
                "label": results.quantities[str(name)].label,
                "level": level,
                "end": difference_text(places[END]),
                "twins": [left_cells(places.get(twin), places[END]["n"], undefined=UNDEFINED) for twin in twins],
            }
        )
    return rows
