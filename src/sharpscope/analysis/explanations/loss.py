"""Is it loss? What of the differences in sharpness is left where the train loss is the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import Contrast, contrast
from sharpscope.analysis.correlations import BETWEEN, LOSS
from sharpscope.analysis.explanations.remains import COLUMNS, TOO_FEW, at_end, left_at, outcome, share_columns
from sharpscope.analysis.results import StudyResults, TableRow, by, records
from sharpscope.analysis.statistics.loss import Adjusted, adjusted_contrast, overlap
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END

COMPARABLE_FROM = 0.25  # share of runs whose train loss lies where the reference's do

ADJUSTED = "adjusted"
EXTRAPOLATES = "extrapolates"  # what became of a difference that cannot be adjusted

_STREAM = NumpyStream(0, "analysis", "equal loss")


@dataclass(frozen=True)
class EqualLoss:
    """What train loss has to do with sharpness, as tables.

    Attributes:
        levels: One row a level: the mean train loss at the end, its contrast to the reference, and the ``overlap``, the
            share of its runs whose train loss lies between the least and the greatest of the reference in the same
            setting.
        measures: One row a measure of sharpness: the rank correlation of the levels' means with their train loss
            (``n`` means, exact ``p`` over the orders of the levels, no interval), and the ``slope`` of the measure on
            the logarithm of the loss within cells, of its logarithm where it is compared by ratio.
        remains: See ``remains_table``.
    """

    levels: pd.DataFrame
    measures: pd.DataFrame
    remains: pd.DataFrame


def equal_loss(results: StudyResults, contrasts: pd.DataFrame, correlations: pd.DataFrame) -> EqualLoss:
    """Return what train loss has to do with the differences in sharpness."""
    return EqualLoss(_levels(results, contrasts), _measures(results, correlations), remains_table(results, contrasts))


def overlap_of(values: Values, level: str) -> float:
    """Return the share of a level's runs whose train loss lies where the reference's do; NaN where none has one."""
    loss = values.of_runs(LOSS)
    return overlap(loss[:, values.levels.index(level)], loss[:, values.levels.index(values.results.reference)])


def _levels(results: StudyResults, contrasts: pd.DataFrame) -> pd.DataFrame:
    values, factor = Values(results), results.factor.name
    columns = [factor, "runs", "mean", "scale", "difference", "ci_low", "ci_high", "overlap"]
    if LOSS not in results.measured:
        return pd.DataFrame(columns=columns)
    tests = by(contrasts[contrasts["quantity"] == LOSS], factor)
    loss, rows = values.of_runs(LOSS), []
    for k, level in enumerate(values.levels):
        found = loss[:, k][np.isfinite(loss[:, k])]
        test = tests.get(level, {})
        compared = {name: test.get(name, np.nan) for name in ("scale", "difference", "ci_low", "ci_high")}
        share = overlap_of(values, level) if level in values.others else np.nan
        mean = float(found.mean()) if len(found) else np.nan
        rows.append({factor: level, "runs": len(found), "mean": mean, **compared, "overlap": share})
    return pd.DataFrame(rows, columns=columns)


def _measures(results: StudyResults, correlations: pd.DataFrame) -> pd.DataFrame:
    values, rows = Values(results), []
    between = correlations[(correlations["quantity"] == LOSS) & (correlations["scope"] == BETWEEN)]
    known = by(between, "measure")
    for name in results.of_kind("sharpness"):
        if name in known:
            slope = _adjusted(values, name, np.full(values.shape[2], np.nan), None).slope
            means = {"n": known[name]["n"], "spearman": known[name]["spearman"], "p": known[name]["p"]}
            ends = {"slope": float(slope.value), "ci_low": float(slope.low), "ci_high": float(slope.high)}
            rows.append({"measure": name, "scale": values.scaled(name).scale, **means, **ends})
    return pd.DataFrame(rows, columns=["measure", "scale", "n", "spearman", "p", "slope", "ci_low", "ci_high"])


def remains_table(results: StudyResults, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Return one row a measure of sharpness, level and place: the difference there, and what is left of it.

    The places (``at``) are the ``end`` of training, each matched train loss, and the end ``adjusted`` for the loss.
    ``retained`` is the share of the mean logarithm of a ratio at the end that is there at the matched loss, with its
    bootstrap interval over seeds; NaN where that at the end may be zero. The adjusted difference takes
    the slope on the logarithm of the loss within cells for one between levels; where the losses hardly overlap that
    ``extrapolates``, and no number is given. ``became`` tells whether the interval excludes equality on the side of the
    difference at the end (``remains``), on the other side (``turned``), or not at all (``not seen``); where only that
    at the end holds equality, the difference ``appears``. Of fewer than six seeds nothing is told. Where ratios
    are given up at a matched loss, ``end_difference`` is that at the end told in the same way; see ``left_at``.
    """
    columns = ["quantity", results.factor.name, "at", *COLUMNS]
    rows = list(_remains(results, contrasts)) if LOSS in results.measured else []
    return pd.DataFrame(rows, columns=columns)


def _remains(results: StudyResults, contrasts: pd.DataFrame) -> Iterator[dict[str, Any]]:
    values, factor = Values(results), results.factor.name
    tests = {(row["quantity"], row[factor]): row for row in records(contrasts)}
    shares = {level: overlap_of(values, level) for level in values.others}
    for name in results.of_kind("sharpness"):
        columns = results.across(name)
        for level in values.others:
            end = tests[name, level]
            if not end["n"]:
                continue
            of_end = contrast(values, name, level)
            for loss, column in columns.items():
                yield {
                    **{"quantity": name, factor: level, "at": loss or END},
                    **(_at(values, column, of_end, end) if loss else at_end(end)),
                }
            differences = of_end.wide.values
            yield {
                **{"quantity": name, factor: level},
                **_adjusted_row(values, name, level, differences, shares[level], end),
            }


def _at(values: Values, column: str, of_end: Contrast, end: TableRow) -> dict[str, Any]:
    """Return what is left at a matched loss; a share of ratios alone, since a difference has no scale of its own."""
    row = left_at(values, column, of_end, end, _STREAM)
    return row if row["scale"] == "ratio" else {**row, **share_columns(None)}


def _adjusted_row(
    values: Values, name: str, level: str, of_end: np.ndarray, share: float, end: TableRow
) -> dict[str, Any]:
    row: dict[str, Any] = {"at": ADJUSTED, "scale": end["scale"], "n": end["n"]}
    if not share >= COMPARABLE_FROM:
        return {**row, "became": EXTRAPOLATES}
    found, back = _adjusted(values, name, of_end, level), values.scaled(name).back
    told = {"difference": back(float(found.contrast.value)), "n": found.seeds}
    told |= {"ci_low": back(float(found.contrast.low)), "ci_high": back(float(found.contrast.high))}
    return {**row, **told, "became": outcome({**row, **told}, end)}


def _adjusted(values: Values, name: str, differences: np.ndarray, level: str | None) -> Adjusted:
    """Return a contrast without its part by the loss, and the slope within cells; of no level, the slope alone."""
    seeds = values.shape[2]
    of_loss = contrast(values, LOSS, level).wide.values if level is not None else np.full(seeds, np.nan)
    y, x = (values.scaled(q).forward(values.of_runs(q)).reshape(-1, seeds) for q in (name, LOSS))
    return adjusted_contrast(differences, of_loss, y, x, _STREAM)


def decisive(remains: pd.DataFrame) -> pd.DataFrame:
    """Return, of each measure and level, the row that tells best what is left at equal loss.

    It is that at the smallest matched train loss that both came to in seeds enough, which is nearest to the end;
    without one, the adjusted one.
    """
    known = remains[(remains["at"] != END) & (remains["became"] != "")]
    loss = pd.to_numeric(known["at"], errors="coerce")
    tells = known["became"].map({TOO_FEW: 1, EXTRAPOLATES: 2}).fillna(0)
    known = known.assign(_tells=tells, _loss=loss.fillna(np.inf))
    ordered = known.sort_values(["_tells", "_loss"], kind="stable").drop(columns=["_tells", "_loss"])
    factor = remains.columns[1]
    return ordered.drop_duplicates(["quantity", factor]).sort_index()
