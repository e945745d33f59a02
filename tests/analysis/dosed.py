"""Studies of an ordered factor with planted truth: what grows with the dose, with the loss, or with neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tests.analysis.planted import planted

from sharpscope.analysis.dose.bookkeeping import bookkeeping_table
from sharpscope.analysis.dose.told import sentences
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.results import Quantity, StudyResults

KEY = "data.factor"
FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

LOSS = Quantity("train_loss", "training", "Train loss", unit="nats", scale="ratio")
BOTH = Quantity("relative_flatness", "sharpness", "Relative flatness", sharper_is="larger", scale="ratio")
ONLY_LOSS = replace(BOTH, name="fisher_rao_norm", label="Fisher-Rao norm")
COMPLEXITY = Quantity("geometric_complexity", "complexity", "Geometric complexity", sharper_is="larger", scale="ratio")
ACCURACY = Quantity("test_accuracy", "score", "Test accuracy", better="higher", unit="fraction")
STEP = Quantity("step", "training", "Steps", unit="steps")
MEASURED = (LOSS, BOTH, ONLY_LOSS, COMPLEXITY)


def at(quantity: Quantity, loss: str) -> Quantity:
    label = f"{quantity.label} at train loss {loss}"
    return replace(quantity, name=f"{quantity.name}@{loss}", label=label, matched_loss=loss)


def dosed(
    *,
    of_dose: float = np.log(2.0),
    of_loss: float = 0.8,
    loss_rises: float = 1.0,
    factors: tuple[float, ...] = FACTORS,
    seeds: int = 10,
    noise: float = 0.1,
    seed: int = 0,
    matched: str = "0.1",
) -> StudyResults:
    """Return a study in which one measure moves with dose and loss, another one with the loss alone.

    Args:
        of_dose: How much the logarithm of relative flatness rises from end to end at equal loss, and of the
            complexity.
        of_loss: How both measures move with the logarithm of the loss.
        loss_rises: How much that of the loss rises from end to end.
        factors: The levels.
        seeds: How many.
        noise: The spread of runs, in logarithms.
        seed: Of the noise.
        matched: A train loss at which all was measured too; empty for none.
    """
    rng = np.random.default_rng(seed)
    keys = [(f, s) for f in factors for s in range(seeds)]
    ledger = pd.DataFrame({KEY: [f for f, _ in keys], "seed": [s for _, s in keys]})
    ledger = ledger.assign(run_id=[f"{f}-{s}" for f, s in keys], state="done", regime="baseline")
    size = len(ledger)
    x = (ledger[KEY].to_numpy() - min(factors)) / (max(factors) - min(factors))

    def luck() -> np.ndarray:
        return noise * (rng.standard_normal(seeds)[ledger["seed"]] + rng.standard_normal(size))

    loss = -3 + loss_rises * x + 4 * luck()
    ledger[LOSS.name] = np.exp(loss)
    ledger[COMPLEXITY.name] = np.exp(of_dose * x + luck())
    ledger[BOTH.name] = np.exp(of_dose * x + of_loss * loss + luck())
    ledger[ONLY_LOSS.name] = np.exp(of_loss * loss + luck())
    ledger[ACCURACY.name] = np.round(0.94 + 0.01 * rng.standard_normal(size), 3)
    quantities = [*MEASURED, ACCURACY]
    if matched:
        there = np.log(float(matched)) + 0.02 * rng.standard_normal(size)
        ledger[f"{LOSS.name}@{matched}"] = np.exp(there)
        ledger[f"{COMPLEXITY.name}@{matched}"] = np.exp(of_dose * x + luck())
        ledger[f"{BOTH.name}@{matched}"] = np.exp(of_dose * x + of_loss * there + luck())
        ledger[f"{ONLY_LOSS.name}@{matched}"] = np.exp(of_loss * there + luck())
        ledger[f"step@{matched}"] = np.round(100 + 50 * x + 5 * rng.standard_normal(size))
        quantities += [at(quantity, matched) for quantity in (*MEASURED, STEP)]
    return planted(
        "dosed",
        ledger,
        quantities,
        grid={"seed": list(range(seeds)), KEY: list(factors)},
        data={"name": "circles"},
        model={"name": "mlp"},
        training={"epochs": 300},
        compare={"factor": KEY},
        primary=[BOTH.name, ONLY_LOSS.name, ACCURACY.name],
    )


def without(results: StudyResults, rows: pd.Series, *columns: str) -> StudyResults:
    """Return a study in which some runs lack some columns; all measured ones where none is named."""
    ledger = results.ledger.copy()
    ledger.loc[rows, list(columns or [name for name in ledger.columns if name in results.quantities])] = np.nan
    return replace(results, ledger=ledger)


def compared(results: StudyResults, **compare: Any) -> StudyResults:
    """Return a study that compares by the factor in another way."""
    return replace(results, study={**results.study, "compare": {"factor": KEY, **compare}})


def by_level(results: StudyResults, name: str) -> np.ndarray:
    """Return a quantity of each run, shape ``[levels, seeds]``."""
    return results.ledger.pivot_table(index=KEY, columns="seed", values=name).to_numpy()


def row_of(results: StudyResults, name: str, at: str = "end") -> pd.Series:
    """Return the row of the table of trends that is of a quantity at a place."""
    table = dose_table(results)
    return table[(table["quantity"] == name) & (table["at"] == at)].squeeze()


def told(results: StudyResults) -> dict[str, str]:
    """Return what is told of each quantity, by its label."""
    return dict(sentences(results, dose_table(results), bookkeeping_table(results)))
