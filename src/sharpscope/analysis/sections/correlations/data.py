"""Correlations of measures with outcomes as the page shows them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import POOLED, WITHIN, outcomes
from sharpscope.analysis.findings import excludes_zero
from sharpscope.analysis.results import StudyResults, TableRow, by


def correlation_tables(results: StudyResults, correlations: pd.DataFrame) -> list[dict[str, Any]]:
    """Return measures (rows) by outcomes (columns) with the pooled coefficient and that within levels.

    The first table is about the end of training, each further one about a matched train loss.
    """
    tables = []
    for loss in ("", *results.losses):
        columns = outcomes(results, loss)
        rows = []
        for measure in results.measures(loss):
            part = correlations[correlations["measure"] == measure]
            pooled, within = (by(part[part["scope"] == scope], "quantity") for scope in (POOLED, WITHIN))
            cells = [_correlation_cell(results, pooled[outcome], within[outcome]) for outcome in columns]
            rows.append({"label": results.quantities[measure].short_label, "cells": cells})
        if rows and columns:
            title = f"At matched train loss {loss}" if loss else ""
            labels = [results.quantities[name].label for name in columns]
            tables.append({"title": title, "outcomes": labels, "rows": rows})
    return tables


def _correlation_cell(results: StudyResults, pooled: TableRow, within: TableRow) -> dict[str, Any]:
    note = ""
    if excludes_zero(pooled) and not excludes_zero(within):
        note = "between"
    elif excludes_zero(pooled) and pooled["spearman"] * within["spearman"] < 0:
        note = "reversed"
    rho = pooled["spearman"]
    return {
        "pooled": numbers.fixed(rho, 2),
        "within": numbers.fixed(within["spearman"], 2),
        "strength": round(abs(rho), 2) if math.isfinite(rho) else 0,
        "sign": "none" if not math.isfinite(rho) else "positive" if rho > 0 else "negative",
        "note": note,
        "tip": [
            ("Pooled ρ", numbers.correlation(rho, pooled["ci_low"], pooled["ci_high"])),
            (
                f"Within {results.factor.noun}s ρ",
                numbers.correlation(within["spearman"], within["ci_low"], within["ci_high"]),
            ),
            ("Kendall τ, pooled", numbers.fixed(pooled["kendall"], 2)),
            ("Runs", str(pooled["n"])),
        ],
    }
