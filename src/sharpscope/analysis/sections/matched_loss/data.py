"""How closely the runs match a train loss, and sharpness there beside that at the end of training."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.results import (
    StudyResults,
    TableRow,
    describe_group,
    describe_moment,
    nested,
    records,
    select,
    split,
)
from sharpscope.spec import Factor
from sharpscope.store.snapshots import STEP, column, snapshot_at

LOSS = "train_loss"
MATCHED = "matched_loss"


def closeness_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a group, matched train loss and level of the factor: the losses that its runs really had there.

    Columns: ``runs``, those that finished; ``reached``, those of them that came to the loss; and of these the mean,
    the least and the greatest number of steps until then (``step``), train loss there (``loss``) and train loss at the
    end of training (``loss_at_end``).
    """
    rows = []
    factor = results.factor.name
    for group, of_group in results.groups:
        for loss in results.losses:
            at = snapshot_at(loss)
            for level in results.levels:
                runs = of_group[(of_group[factor] == level) & (of_group["state"] == "done")]
                there = runs.dropna(subset=column(LOSS, at))
                told = {"step": column(STEP, at), "loss": column(LOSS, at), "loss_at_end": LOSS}
                spread = {k: v for name, of in told.items() for k, v in _spread(name, there[of]).items()}
                counts = {"runs": len(runs), "reached": len(there)}
                rows.append({**group, MATCHED: loss, factor: level, **counts, **spread})
    columns = [*results.keys, MATCHED, factor, "runs", "reached"]
    columns += [f"{name}{end}" for name in ("step", "loss", "loss_at_end") for end in ("", "_least", "_greatest")]
    return pd.DataFrame(rows, columns=columns)


def _spread(name: str, values: pd.Series) -> dict[str, float]:
    return {name: values.mean(), f"{name}_least": values.min(), f"{name}_greatest": values.max()}


def with_ranges(table: pd.DataFrame, name: str) -> list[str]:
    """Return each row's mean with its least and greatest value, all to as many places: "0.17 (0.14 to 0.20)"."""
    rows = table[[f"{name}{end}" for end in ("", "_least", "_greatest")]].to_numpy(float)
    known = [row for row in rows if math.isfinite(row[0])]
    decimals = statistics.median_low([numbers.decimals_of(*row) for row in known]) if known else 0
    if all(end.is_integer() for _, *ends in known for end in ends):
        decimals = min(decimals, 0)
    texts = [[numbers.fixed(value, decimals) for value in row] for row in rows]
    return [f"{mean} ({least} to {greatest})" if least != greatest else mean for mean, least, greatest in texts]


def shown(results: StudyResults) -> list[str]:
    """Return what is drawn at every moment: the train loss, and all measures that have a matched train loss."""
    names = [LOSS, *results.measures()]
    return [name for name in names if len(results.across(name)) > 1]


def panel_sets(
    results: StudyResults, levels: pd.DataFrame, comparisons: pd.DataFrame, closeness: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return one set a group for the page: a panel a quantity, and how closely each loss is matched."""
    found = []
    for group, _ in results.groups if results.losses else ():
        factor = results.factor.name
        means, tests = (nested(select(table, group), "quantity", factor) for table in (levels, comparisons))
        panels = [panel for name in shown(results) if (panel := _panel(results, name, means, tests)) is not None]
        losses = [
            {"loss": cell[MATCHED], "rows": _closeness_rows(results, part)}
            for cell, part in split(select(closeness, group), [MATCHED])
        ]
        found.append({"title": describe_group(group), "panels": panels, "losses": losses})
    return found


def _closeness_rows(results: StudyResults, table: pd.DataFrame) -> list[dict[str, str]]:
    columns = zip(*(with_ranges(table, name) for name in ("step", "loss", "loss_at_end")), strict=True)
    return [
        {
            "level": row[results.factor.name],
            "reached": f"{row['reached']} of {row['runs']}",
            "step": a,
            "there": b,
            "at_end": c,
        }
        for row, (a, b, c) in zip(records(table), columns, strict=True)
    ]


def _panel(
    results: StudyResults, name: str, means: dict[str, dict[str, TableRow]], tests: dict[str, dict[str, TableRow]]
) -> dict[str, Any] | None:
    """Return what one panel draws: a row a level, in it a lane a moment, all in hundredths of the panel's width.

    There is none where no run of the setting has the quantity.
    """
    columns, factor = results.across(name), results.factor
    of_moment = {moment: means[column] for moment, column in columns.items()}
    tests_at = {moment: tests.get(column, {}) for moment, column in columns.items()}
    known = [row for rows in of_moment.values() for row in rows.values() if math.isfinite(row["mean"])]
    if not known:
        return None
    losses = [float(loss) for loss in results.losses] if name == LOSS else []
    ends = [row[end] for row in known for end in ("mean", "ci_low", "ci_high") if math.isfinite(row[end])]
    scale = Scale.of(np.array([*ends, *losses]))
    rows = []
    styles = styles_of(factor)
    for level in results.levels:
        at = {moment: of_moment[moment][level] for moment in columns}
        lanes = [_lane(scale, row) for row in at.values()]
        tip = [pair for moment in columns for pair in _terms(factor, moment, at[moment], tests_at[moment].get(level))]
        rows.append({"level": level, "color": styles[level].color, "lanes": lanes, "tip": tip})
    return {
        "quantity": results.quantities[name],
        "rows": rows,
        "ticks": scale.ticks(),
        "logarithmic": scale.logarithmic,
        "losses": [scale.at(loss) for loss in losses],
    }


def _lane(scale: Scale, row: TableRow) -> dict[str, float] | None:
    if not math.isfinite(row["mean"]):
        return None
    low, high = (row[end] if math.isfinite(row[end]) else row["mean"] for end in ("ci_low", "ci_high"))
    return {"at": scale.at(row["mean"]), "low": scale.at(low), "high": scale.at(high)}


def _terms(factor: Factor, moment: str, row: TableRow, test: TableRow | None) -> list[tuple[str, str]]:
    """Return what hovering tells of a level at one moment: pairs of a term and its value."""
    when = describe_moment(moment)
    terms = [(f"At {when}", numbers.with_interval(row["mean"], row["ci_low"], row["ci_high"]))]
    if test is not None and test["n"]:
        difference = numbers.change(test["scale"], test["difference"], test["ci_low"], test["ci_high"])
        how = "Ratio" if test["scale"] == "ratio" else "Difference"
        terms.append((f"{how} to {factor.told(factor.reference)}", difference))
        terms.append(("p adjusted", numbers.p_value(test["p_adjusted"])))
    return terms
