"""Is it confidence? What of the differences is left where all networks are made as sure as one another.

A network that is surer of the same predictions has another curvature and another calibration. So each difference is
looked at again on the twins, whose logits are divided by a temperature: that which suits the calibration split, or that
at which a network is as sure as the one of the reference with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import contrast
from sharpscope.analysis.explanations.remains import COLUMNS, TOO_FEW, at_end, left_at
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import CALIBRATED, END, MATCHED, column, snapshot_at, twin_at

# The twins in the order of a reader, and in that of how well they hold confidence equal.
TWINS = {CALIBRATED: "calibrated", MATCHED: "at matched confidence"}
CLOSEST = (MATCHED, CALIBRATED)

CONFIDENCE_STREAM = NumpyStream(0, "analysis", "equal confidence")


def twin_column(results: StudyResults, name: str, twin: str, loss: str = "") -> str | None:
    """Return the column of a quantity of a twin; None where no run has a number there.

    Args:
        results: What the study found.
        name: The quantity at the end of training.
        twin: Which twin.
        loss: The matched train loss; empty for the end of training.
    """
    found = column(name, twin_at(snapshot_at(loss) if loss else END, twin))
    known = found in results.quantities and found in results.runs and results.runs[found].notna().any()
    return found if known else None


def twin_columns(results: StudyResults, names: Iterable[str], twin: str) -> list[str]:
    """Return the columns of quantities of a twin at the end of training; of what has none there, its own."""
    return [twin_column(results, name, twin) or name for name in names]


def primary_at_end(results: StudyResults, *kinds: str) -> list[str]:
    """Return the primary quantities of some kinds that are of the models themselves at the end of training."""
    facts = results.quantities
    return [n for n in results.primary if facts[n].kind in kinds and not (facts[n].twin or facts[n].matched_loss)]


def confidence_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a primary measure of sharpness or score, level and place: the difference there, and what is left.

    The places (``at``) are the ``end`` of training and each twin there: ``calibrated`` and ``matched_confidence``.
    ``retained`` is the share of the mean difference at the end (of the mean logarithm of a ratio) that the twins have,
    with its bootstrap interval over seeds; NaN where that at the end may be zero. ``became`` is as in
    ``remains_table``. Where a twin has values for which ratios are given up, ``end_difference`` is that at the end
    told in the same way; see ``left_at``. What has no twin, such as the accuracy, which no temperature changes, has no
    row.
    """
    columns = ["quantity", "kind", results.factor.name, "at", *COLUMNS]
    return pd.DataFrame(_rows(results), columns=columns)


def _rows(results: StudyResults) -> Iterator[dict[str, Any]]:
    values = Values(results)
    for name in primary_at_end(results, "sharpness", "score"):
        twins = {twin: found for twin in TWINS if (found := twin_column(results, name, twin)) is not None}
        for level in values.others if twins else ():
            end = contrast(values, name, level)
            told = end.tested.described(results)
            if not told["n"]:
                continue
            key = {"quantity": name, "kind": results.quantities[name].kind, results.factor.name: level}
            yield {**key, "at": END, **at_end(told)}
            for twin, of_twin in twins.items():
                yield {**key, "at": twin, **left_at(values, of_twin, end, told, CONFIDENCE_STREAM)}


def closest(table: pd.DataFrame) -> pd.DataFrame:
    """Return, of each quantity and level, the row of the twin that holds confidence equal the best in seeds enough."""
    known = table[table["at"].isin(CLOSEST) & (table["became"] != "")]
    places = known["at"].map(dict(zip(CLOSEST, np.arange(len(CLOSEST)), strict=True)))
    order = known.assign(_few=known["became"] == TOO_FEW, _order=places)
    order = order.sort_values(["_few", "_order"], kind="stable").drop(columns=["_few", "_order"])
    return order.drop_duplicates(["quantity", table.columns[2]])
