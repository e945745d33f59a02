"""What the interactive scatter plots draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import POOLED, WITHIN, outcomes_at
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale, marks
from sharpscope.analysis.results import StudyResults, describe_group, records
from sharpscope.analysis.sections.scatter.axis import on_log_axis
from sharpscope.spec import REGIME


def scatter_data(results: StudyResults, correlations: pd.DataFrame) -> dict[str, Any]:
    """Return what the interactive scatter plots draw, fit for JSON.

    Measures are chosen by their names at the end of training and by a moment, the outcomes by their columns.
    """
    ledger = results.runs.dropna(how="all", subset=results.measured)
    factor, styles = results.factor, styles_of(results.factor)
    moments = ["", *results.losses]
    measures = dict.fromkeys(results.quantities[n].base for m in moments for n in results.measures(m))
    texts = {
        f"{row['measure']}|{row['quantity']}|{row['scope']}": numbers.correlation(
            row["spearman"], row["ci_low"], row["ci_high"]
        )
        for row in records(correlations)
        if row["scope"] in (POOLED, WITHIN)
    }
    unconverged = {name: results.unconverged(name)[ledger.index].tolist() for name in results.measured}
    stderrs = {name: f"{name}_stderr" for name in results.measured if f"{name}_stderr" in ledger.columns}
    x = {moment: names for moment in moments if (names := _beside(results, moment))}
    y = {name: results.across(name) for name in measures}
    return {
        "factor": "" if factor.name == REGIME else factor.name,
        "levels": [
            {"name": level, "told": factor.told(level), "color": styles[level].color, "symbol": styles[level].symbol}
            for level in results.levels
        ],
        "within": f"within {factor.noun}s",
        "labels": {name: results.quantities[name].label for name in results.measured},
        "short": {name: results.quantities[name].short_label for name in results.measured},
        "x": x,
        "y": y,
        "axes": {
            # That of a measure suits it at every moment, so that it stays when another one is chosen.
            "x": {name: _axis(results, [name]) for names in x.values() for name in names},
            "y": {name: _axis(results, list(columns.values())) for name, columns in y.items()},
        },
        "runs": {
            "id": ledger["run_id"].astype(str).tolist(),
            "seed": ledger["seed"].astype(str).tolist(),
            "level": ledger[factor.name].tolist(),
            "group": [describe_group({key: row[key] for key in results.keys}) for row in records(ledger)],
        },
        "values": {name: _json_numbers(ledger[name]) for name in results.measured},
        "stderr": {name: _json_numbers(ledger[column]) for name, column in stderrs.items()},
        "unconverged": {name: runs for name, runs in unconverged.items() if any(runs)},
        "correlations": texts,
    }


def _beside(results: StudyResults, moment: str) -> list[str]:
    """Return what measures are set against: what was found beside them, and the complexity of the function."""
    complexities = [name for name in results.of_kind("complexity", moment) if not results.quantities[name].twin]
    return [*outcomes_at(results, moment), *complexities]


def _axis(results: StudyResults, columns: list[str]) -> dict[str, Any]:
    """Return whether an axis starts logarithmic, and what marks it then: nothing where a value is not positive."""
    values = results.runs[columns].to_numpy(float)
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return {"logarithmic": False, "ticks": [], "texts": []}
    ticks = marks(Scale(float(values.min()), float(values.max()), logarithmic=True))
    return {
        "logarithmic": on_log_axis(results, *columns),
        "ticks": [value for value, _ in ticks],
        "texts": [text for _, text in ticks],
    }


def _json_numbers(column: pd.Series) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in column.astype(float)]
