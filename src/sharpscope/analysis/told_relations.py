"""How sharpness moves with what the function is worth, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import PARTIAL, POOLED, WITHIN
from sharpscope.analysis.results import StudyResults, TableRow, by
from sharpscope.analysis.statistics.relations import BETWEEN_ONLY, MASKED, REVERSED, UNDECIDED
from sharpscope.analysis.wording import cells_told, label_of

# Outcomes whose relation to sharpness is told in words, the first of them that were measured.
_OUTCOMES = ("generalization_gap", "r2_gap", "ece", "test_accuracy", "test_r2")
_TOLD = 2


def told_relations(results: StudyResults, correlations: pd.DataFrame) -> tuple[str, ...]:
    """Return how the first primary sharpness moves with what the function is worth, pooled and within cells."""
    sharp = results.of_kind("sharpness")
    measures = [name for name in results.primary if name in sharp] or sharp
    outcomes = [outcome for outcome in _OUTCOMES if outcome in results.measured][:_TOLD]
    if not measures:
        return ()
    sentences: list[str] = []
    for outcome in outcomes:
        rows = correlations[(correlations["measure"] == measures[0]) & (correlations["quantity"] == outcome)]
        by_scope = by(rows, "scope")
        pooled, within = by_scope[POOLED], by_scope[WITHIN]
        names = f"{label_of(results, measures[0])} and {label_of(results, outcome)}"
        if not math.isfinite(pooled["ci_low"]):
            continue
        if len(results.levels) == 1 and not results.keys:
            sentences.append(f"Over runs, {names} correlate at {_rho(pooled)}.")
        elif math.isfinite(within["ci_low"]):
            sentences.append(_sentence(results, names, pooled, within, by_scope[PARTIAL]))
    return tuple(sentences)


def _sentence(results: StudyResults, names: str, pooled: TableRow, within: TableRow, partial: TableRow) -> str:
    # Runs of different settings are pooled as those of different levels are.
    nouns = cells_told(results)
    given = f" ({_rho(partial)} given the train loss)" if math.isfinite(partial["ci_low"]) else ""
    over_all = f"Over all runs, {names} correlate at {_rho(pooled)}"
    return f"{over_all}; within {nouns}, at {_rho(within)}{given}{_reading(pooled, within, nouns)}."


def _rho(row: TableRow) -> str:
    return f"ρ\u00a0=\u00a0{numbers.correlation(row['spearman'], row['ci_low'], row['ci_high'])}"


def _reading(pooled: TableRow, within: TableRow, nouns: str) -> str:
    """Return what the two say together, as the end of a sentence."""
    if all(row["ci_low"] <= 0 <= row["ci_high"] for row in (pooled, within)):
        return "; both intervals hold zero"
    return {
        "": ", the same direction",
        REVERSED: f", the opposite direction: the relation over all runs is one between {nouns} alone",
        MASKED: f": differences between {nouns} mask a relation that is there within them",
        BETWEEN_ONLY: f", so the relation is one between {nouns} only",
        UNDECIDED: f", too few runs to tell whether it is more than one between {nouns}",
    }[pooled["flag"]]
