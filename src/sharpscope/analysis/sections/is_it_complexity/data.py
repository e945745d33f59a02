"""What complexity and loss have to do with sharpness, as the page shows it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.complexity import COMPLEXITY_FIRST, LOSS_FIRST, ON_COMPLEXITY, ON_LOSS, PREDICTORS
from sharpscope.analysis.equal_confidence import TWINS
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.analysis.scale import Scale
from sharpscope.analysis.values import Values
from sharpscope.analysis.wording import label_of

RELATIONS = {ON_COMPLEXITY: "complexity, given the train loss", ON_LOSS: "train loss, given the complexity"}
AXIS = Scale(-1.0, 1.0, logarithmic=False)

_OF = ["measure", "complexity", "twin"]


def verdicts(results: StudyResults, shares: pd.DataFrame) -> list[str]:
    """Return, of each measure of sharpness and of complexity, what explains how much of it: in both orders."""
    values, told = Values(results), []
    for key, part in shares[shares["twin"] == ""].groupby(_OF, sort=False):
        measure, complexity, _ = map(str, key)
        first, second = (by(part[part["order"] == order], "predictor") for order in (LOSS_FIRST, COMPLEXITY_FIRST))
        name = f"{'log ' if values.scaled(measure).scale == 'ratio' else ''}{label_of(results, measure)}"
        if not math.isfinite(first["loss"]["share"]):
            told.append(f"Of the variation of {name} nothing can be told: no two runs of one seed differ in it.")
            continue
        function, noun = label_of(results, complexity), results.factor.noun
        told.append(
            f"Loss explains {share(first['loss'])} of the variation of {name} over runs of one seed, {function} a "
            f"further {share(first['complexity'])}, the {noun} a further {share(first['level'])}. The other way round, "
            f"{function} explains {share(second['complexity'])}, loss a further {share(second['loss'])}."
            f"{'' if math.isfinite(first['loss']['ci_low']) else ' There are too few seeds for intervals.'}"
        )
    return told


def share(row: TableRow) -> str:
    """Return a share with its interval: "71% [60, 80]"."""
    return numbers.percentage(*(row[end] for end in ("share", "ci_low", "ci_high")))


def share_blocks(results: StudyResults, shares: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a block a measure of sharpness, of complexity and twin: of each order, the share of each predictor."""
    blocks = []
    for key, part in shares.groupby(_OF, sort=False):
        measure, complexity, twin = map(str, key)
        orders = [(str(order), by(of_order, "predictor")) for order, of_order in part.groupby("order", sort=False)]
        blocks.append(
            {
                "measure": results.quantities[measure].label,
                "complexity": results.quantities[complexity].label,
                "twin": TWINS.get(twin, ""),
                "orders": [
                    (order, [(share(found[name]), _chance(found[name])) for name in PREDICTORS])
                    for order, found in orders
                ],
            }
        )
    return blocks


def _chance(row: TableRow) -> str:
    return numbers.percent(row["by_chance"]) if math.isfinite(row["by_chance"]) else ""


def panels_of(results: StudyResults, partials: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each measure's panel draws: a row a measure of complexity and twin, in it a lane a relation.

    What has no coefficient has no row, and a measure without rows no panel.
    """
    panels = []
    for measure, part in partials.dropna(subset="spearman").groupby("measure", sort=False):
        title = results.quantities[str(measure)].label
        rows = [_row(results, key, of_key) for key, of_key in part.groupby(["complexity", "twin"], sort=False)]
        panels.append(
            {
                "title": title,
                "note": "Spearman’s coefficient within cells",
                "described": f"How {title} ranks with complexity and with train loss, each given the other",
                "rows": rows,
                "ticks": AXIS.ticks(),
                "zero": AXIS.at(0.0),
            }
        )
    return panels


def _row(results: StudyResults, key: Any, part: pd.DataFrame) -> dict[str, Any]:
    complexity, twin = map(str, key)
    found, label = by(part, "relation"), row_label(results, complexity, twin)
    tip = [("Complexity", results.quantities[complexity].label)]
    tip += [("Of twins", TWINS[twin])] if twin else []
    tip += [
        (f"With {told}", numbers.correlation(*(found[relation][end] for end in ("spearman", "ci_low", "ci_high"))))
        for relation, told in RELATIONS.items()
        if relation in found
    ]
    return {"label": label, "color": "", "lanes": [_lane(found.get(relation)) for relation in RELATIONS], "tip": tip}


def row_label(results: StudyResults, complexity: str, twin: str) -> str:
    """Return the name of a row: the measure of complexity, or which twin it is of, below that of the models."""
    return f"· {TWINS[twin]}" if twin else results.quantities[complexity].label


def _lane(row: TableRow | None) -> dict[str, float] | None:
    if row is None:
        return None
    low, high = (row[end] if math.isfinite(row[end]) else row["spearman"] for end in ("ci_low", "ci_high"))
    return {"at": AXIS.at(row["spearman"]), "low": AXIS.at(low), "high": AXIS.at(high)}
