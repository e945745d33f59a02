"""What train loss has to do with sharpness, as the page shows it."""

from __future__ import annotations

from typing import Any

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.explanations.loss import ADJUSTED, COMPARABLE_FROM, EXTRAPOLATES, EqualLoss
from sharpscope.analysis.explanations.told_remains import left_cells
from sharpscope.analysis.results import StudyResults, TableRow, by, records
from sharpscope.analysis.values import Values
from sharpscope.analysis.wording import difference_text, fewer, no_ratio
from sharpscope.store.snapshots import END

NOT_COMPARABLE = "not comparable at the end of training"


def covariate(results: StudyResults) -> str:
    """Return what slopes are on: the logarithm of the loss, or the loss itself and why."""
    if LOSS not in results.measured:
        return "the loss"
    scaled = Values(results).scaled(LOSS)
    if scaled.scale == "ratio":
        return "the logarithm of the loss"
    why = f" (not its logarithm: {no_ratio(scaled.not_positive, scaled.values)})" if scaled.not_positive else ""
    return f"the loss{why}"


def level_rows(results: StudyResults, found: EqualLoss) -> list[dict[str, str]]:
    """Return the train loss of each level at the end, and whether it is comparable with the reference's."""
    return [
        {
            "level": row[results.factor.name],
            "mean": numbers.estimate(row["mean"], 0, row["mean"] / 10),
            "difference": difference_text(row),
            "overlap": numbers.percent(row["overlap"]),
            "note": NOT_COMPARABLE if row["overlap"] < COMPARABLE_FROM else "",
        }
        for row in records(found.levels)
    ]


def measure_rows(results: StudyResults, found: EqualLoss) -> list[dict[str, str]]:
    """Return how each measure of sharpness goes with the train loss: between levels, and within cells."""
    return [
        {
            "label": results.quantities[row["measure"]].label,
            "between": numbers.fixed(row["spearman"], 2),
            "p": numbers.p_value(row["p"]),
            "points": str(row["n"]),
            "slope": numbers.with_interval(row["slope"], row["ci_low"], row["ci_high"], sign=True),
            "logarithmic": row["scale"] == "ratio",
        }
        for row in records(found.measures)
    ]


def remaining_rows(results: StudyResults, found: EqualLoss) -> list[dict[str, Any]]:
    """Return each measure and level with its difference at the end, at each matched loss, and adjusted."""
    rows = []
    for (name, level), part in found.remains.groupby(["quantity", results.factor.name], sort=False):
        places = by(part, "at")
        rows.append(
            {
                "label": results.quantities[str(name)].label,
                "level": level,
                "end": difference_text(places[END]),
                "matched": [left_cells(places.get(loss), places[END]["n"]) for loss in results.losses],
                "adjusted": _adjusted(places[ADJUSTED], places[END]["n"]),
            }
        )
    return rows


def _adjusted(row: TableRow, seeds: int) -> dict[str, str]:
    if row["became"] == EXTRAPOLATES:
        return {"difference": "", "became": EXTRAPOLATES}
    less = fewer(row, seeds)
    return {"difference": f"{difference_text(row)}{less and f' ({less})'}", "became": row["became"]}
