"""What confidence has to do with sharpness and scores, as the page shows it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.confidence import TWINS
from sharpscope.analysis.explanations.told_remains import share_text
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.store.snapshots import END

UNDEFINED = "undefined"  # the share of a difference that may be zero


def twins_of(table: pd.DataFrame) -> dict[str, str]:
    """Return the twins that the study has, each with how it is told."""
    present = set(table["at"])
    return {twin: told for twin, told in TWINS.items() if twin in present}


def rows_of(results: StudyResults, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each quantity and level with its difference at the end and on each twin."""
    rows, twins = [], twins_of(table)
    for (name, level), part in table.groupby(["quantity", results.factor.name], sort=False):
        places = by(part, "at")
        rows.append(
            {
                "label": results.quantities[str(name)].label,
                "level": level,
                "end": _difference(places[END]),
                "twins": [_of_twin(places.get(twin)) for twin in twins],
            }
        )
    return rows


def _difference(row: TableRow) -> str:
    return numbers.change(row["scale"], row["difference"], row["ci_low"], row["ci_high"])


def _of_twin(row: TableRow | None) -> dict[str, str]:
    if row is None or not row["n"]:
        return {"difference": numbers.MISSING, "retained": "", "became": ""}
    return {"difference": _difference(row), "retained": share_text(row) or UNDEFINED, "became": row["became"]}
