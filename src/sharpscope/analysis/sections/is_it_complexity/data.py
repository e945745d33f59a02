"""What complexity and loss have to do with sharpness, as the page shows it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.explanations.complexity import (
    COMPLEXITY_FIRST,
    ENTROPY,
    HEAD_NORM,
    LOSS_FIRST,
    ON_COMPLEXITY,
    ON_LOSS,
    PREDICTORS,
    over_levels,
)
from sharpscope.analysis.explanations.concluded import clipped, share
from sharpscope.analysis.explanations.confidence import TWINS
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.analysis.statistics.partial import takes_squares
from sharpscope.analysis.wording import label_of
from sharpscope.store.snapshots import END

RELATIONS = {ON_COMPLEXITY: "complexity, given the train loss", ON_LOSS: "train loss, given the complexity"}
AXIS = Scale(-1.0, 1.0, logarithmic=False)
SHARES = Scale(0.0, 1.06, logarithmic=False)  # with room for the mark at its end
# How a predictor enters: the first of all, after the other of loss and complexity, and after both.
ENTERS = ("by itself", "after the other")

_OF = ["measure", "complexity", "at", "twin"]
ROWS = ["complexity", "at", "twin", "beside"]  # what tells the rows of a picture of relations apart
_BESIDE = {ENTROPY: "given the entropy", HEAD_NORM: "given the head norm"}


def where(at: str, twin: str, beside: str = "") -> str:
    """Return where, or beside what, a relation was looked at; empty at the end of training beside the loss alone."""
    return TWINS.get(twin) or _BESIDE.get(beside) or ("" if at == END else f"at train loss {at}")


def share_blocks(results: StudyResults, shares: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a block a measure of sharpness, of complexity and place: of each order, the share of each predictor."""
    blocks = []
    for key, part in shares.groupby(_OF, sort=False):
        measure, complexity, at, twin = map(str, key)
        orders = [(str(order), by(of_order, "predictor")) for order, of_order in part.groupby("order", sort=False)]
        blocks.append(
            {
                "measure": results.quantities[measure].label,
                "complexity": results.quantities[complexity].label,
                "where": where(at, twin),
                "orders": [(order, [share(found[name]) for name in PREDICTORS]) for order, found in orders],
            }
        )
    return blocks


def share_panels(results: StudyResults, shares: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what a panel a measure of sharpness, of complexity and place draws: a row a predictor with two lanes.

    These are the share that it explains when it enters first, and when it enters after the other of loss and
    complexity; the level enters last.
    """
    panels = []
    plain = shares[shares["twin"] == ""]
    for (measure, complexity, at), part in plain.groupby(["measure", "complexity", "at"], sort=False):
        loss_first, other = (by(part[part["order"] == order], "predictor") for order in (LOSS_FIRST, COMPLEXITY_FIRST))
        if not math.isfinite(loss_first["loss"]["share"]):
            continue
        title, function = (results.quantities[str(name)].label for name in (measure, complexity))
        lanes = {
            "Train loss": (loss_first["loss"], other["loss"]),
            function: (other["complexity"], loss_first["complexity"]),
            f"{results.factor.title}, last": (None, loss_first["level"]),
        }
        panels.append(
            {
                "title": title,
                "note": " ".join(filter(None, (f"with {label_of(results, str(complexity))}", where(str(at), "")))),
                "described": f"What share of the variation of {title} train loss, {function} and level explain",
                "rows": [
                    {
                        "label": label,
                        "color": "",
                        "lanes": [_lane(row and clipped(row), "share", SHARES) for row in found],
                        "tip": [(told, share(row)) for told, row in zip(ENTERS, found, strict=True) if row is not None],
                    }
                    for label, found in lanes.items()
                ],
                "ticks": [(SHARES.at(mark), f"{100 * mark:.0f}%") for mark in (0.0, 0.25, 0.5, 0.75, 1.0)],
                "zero": SHARES.at(0.0),
            }
        )
    return panels


def coefficient(results: StudyResults) -> str:
    """Return what the coefficients are, and over what, in words."""
    return (
        "Partial correlation over the levels of a seed"
        if over_levels(results)
        else "Spearman’s coefficient within cells"
    )


def taken_out(results: StudyResults, partials: pd.DataFrame) -> str:
    """Return how what is given is taken out of relations over levels, in a sentence; empty of ranks, or of none."""
    if not over_levels(results) or partials["correlation"].isna().all():
        return ""
    levels = len(results.levels)
    if not takes_squares(levels):
        return (
            f"What is given is taken out by a straight line, since {levels} levels are too few for a curve: what goes "
            "with it by a curve may be left in the relations."
        )
    beside = partials.dropna(subset="correlation")["beside"].ne("").any() and not takes_squares(levels, held=2)
    besides = "; where something else is held fixed too, by straight lines, since levels are too few" if beside else ""
    return f"What is given is taken out by a parabola{besides}."


def panels_of(results: StudyResults, partials: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each measure's panel draws: a row a measure of complexity and place, in it a lane a relation.

    What has no coefficient has no row, and a measure without rows no panel.
    """
    panels = []
    for measure, part in partials.dropna(subset="correlation").groupby("measure", sort=False):
        title = results.quantities[str(measure)].label
        rows = [_row(results, key, of_key) for key, of_key in part.groupby(ROWS, sort=False)]
        panels.append(
            {
                "title": title,
                "note": coefficient(results),
                "described": f"How {title} goes with complexity and with train loss, each given the other",
                "rows": rows,
                "ticks": AXIS.ticks(),
                "zero": AXIS.at(0.0),
            }
        )
    return panels


def _row(results: StudyResults, key: Any, part: pd.DataFrame) -> dict[str, Any]:
    found = by(part, "relation")
    tip = [("Complexity", results.quantities[str(key[0])].label)]
    tip += [("Where", where(*map(str, key[1:])) or "at the end of training")]
    tip += [
        (f"With {told}", numbers.correlation(*(found[relation][end] for end in ("correlation", "ci_low", "ci_high"))))
        for relation, told in RELATIONS.items()
        if relation in found
    ]
    lanes = [_lane(found.get(relation), "correlation", AXIS) for relation in RELATIONS]
    return {"label": row_label(results, *map(str, key)), "color": "", "lanes": lanes, "tip": tip}


def row_label(results: StudyResults, complexity: str, at: str, twin: str, beside: str) -> str:
    """Return the name of a row: the measure of complexity, or where else it is looked at, below that."""
    place = where(at, twin, beside)
    return f"· {place}" if place else results.quantities[complexity].label


def _lane(row: TableRow | None, what: str, axis: Scale) -> dict[str, float] | None:
    """Return where a value and its interval lie on an axis, whose ends hold what lies beyond; None without a value."""
    if row is None or not math.isfinite(row[what]):
        return None
    ends = (row[end] if math.isfinite(row[end]) else row[what] for end in ("ci_low", "ci_high"))
    places = (axis.at(min(max(value, axis.low), axis.high)) for value in (row[what], *ends))
    return dict(zip(("at", "low", "high"), places, strict=True))
