"""Correlations of measures with outcomes as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import (
    BETWEEN,
    BETWEEN_LEVELS,
    BETWEEN_SETTINGS,
    PARTIAL,
    POOLED,
    WITHIN,
    outcomes,
)
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.statistics.relations import BETWEEN_ONLY, MASKED, REVERSED, UNDECIDED

SYMBOLS = {REVERSED: "⇄", MASKED: "◐", BETWEEN_ONLY: "◇", UNDECIDED: "?"}


def pairs_of(correlations: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, TableRow]]]:
    """Yield each measure and outcome with what is known of it, by scope."""
    found: dict[tuple[str, str], dict[str, TableRow]] = {}
    for row in records(correlations):
        found.setdefault((row["measure"], row["quantity"]), {})[row["scope"]] = row
    yield from found.items()


def four_columns(scopes: dict[str, TableRow]) -> dict[str, str]:
    """Return a relation in four columns: pooled, within cells, between them, and within given the train loss."""
    between = scopes[BETWEEN]
    p = f" (p = {numbers.p_value(between['p'])})" if math.isfinite(between["p"]) else ""
    return {
        "pooled": _rho(scopes[POOLED]),
        "within": _rho(scopes[WITHIN]),
        "between": numbers.fixed(between["spearman"], 2) + p,
        "partial": _rho(scopes[PARTIAL]),
    }


def correlation_tables(results: StudyResults, correlations: pd.DataFrame) -> list[dict[str, Any]]:
    """Return measures (rows) by outcomes (columns) with the pooled coefficient and that within levels.

    The first table is about the end of training, each further one about a matched train loss.
    """
    known = dict(pairs_of(correlations))
    tables = []
    for loss in ("", *results.losses):
        columns = outcomes(results, loss)
        rows = [
            {
                "label": results.quantities[measure].short_label,
                "cells": [_correlation_cell(results, known[measure, outcome]) for outcome in columns],
            }
            for measure in results.measures(loss)
        ]
        if rows and columns:
            title = f"At matched train loss {loss}" if loss else ""
            labels = [results.quantities[name].label for name in columns]
            tables.append({"title": title, "outcomes": labels, "rows": rows})
    return tables


def every_relation(results: StudyResults, correlations: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row a measure and outcome at the end of training, in four columns with the flag in words."""
    return [
        {
            "measure": results.quantities[measure].label,
            "outcome": results.quantities[outcome].label,
            "flag": str(scopes[POOLED]["flag"]),
            "without": _range(scopes[POOLED]),
            "cells": str(scopes[WITHIN]["cells"]),
            **four_columns(scopes),
        }
        for (measure, outcome), scopes in pairs_of(correlations)
        if not results.quantities[measure].matched_loss
    ]


def ranking_rows(results: StudyResults, rankings: pd.DataFrame) -> list[dict[str, str]]:
    """Return how well each measure ranks runs that differ in one axis alone, as text."""
    return [
        {
            "measure": results.quantities[row["measure"]].label,
            "psi": numbers.correlation(row["psi"], row["ci_low"], row["ci_high"]),
            "axes": row["axes"],
            "greatest": numbers.percent(row["sign_error_greatest"]),
            "mean": numbers.percent(row["sign_error_mean"]),
            "pairs": str(row["pairs"]),
        }
        for row in records(rankings)
    ]


def _rho(row: TableRow) -> str:
    return numbers.correlation(row["spearman"], row["ci_low"], row["ci_high"])


def _range(pooled: TableRow) -> str:
    if not math.isfinite(pooled["least"]):
        return numbers.MISSING
    return f"{numbers.fixed(pooled['least'], 2)} to {numbers.fixed(pooled['greatest'], 2)}"


def _correlation_cell(results: StudyResults, scopes: dict[str, TableRow]) -> dict[str, Any]:
    pooled, within, factor = scopes[POOLED], scopes[WITHIN], results.factor
    rho, columns = pooled["spearman"], four_columns(scopes)
    told = {
        "Pooled ρ": columns["pooled"],
        f"Pooled without one {factor.noun}": _range(pooled),
        f"Within {factor.noun}s ρ": columns["within"],
        "The same given the train loss": columns["partial"],
        f"Between {factor.noun}s ρ": columns["between"],
    }
    if results.keys:
        told[f"Between {factor.noun}s, within settings"] = numbers.fixed(scopes[BETWEEN_LEVELS]["spearman"], 2)
        told[f"Between settings, within {factor.noun}s"] = numbers.fixed(scopes[BETWEEN_SETTINGS]["spearman"], 2)
    told |= {"Kendall τ, pooled": numbers.fixed(pooled["kendall"], 2), "Runs": str(pooled["n"])}
    if pooled["flag"]:
        told["Pooled and within"] = str(pooled["flag"])
    return {
        "pooled": numbers.fixed(rho, 2),
        "within": numbers.fixed(within["spearman"], 2),
        "strength": round(abs(rho), 2) if math.isfinite(rho) else 0,
        "sign": "none" if not math.isfinite(rho) else "positive" if rho > 0 else "negative",
        "flag": pooled["flag"],
        "symbol": SYMBOLS.get(pooled["flag"], ""),
        "tip": list(told.items()),
    }
