"""Verdicts on predictions of published claims, a module for each kind of prediction."""

from __future__ import annotations

from sharpscope.analysis.verdicts.verdict import (
    CANNOT_TELL,
    CONDITIONS,
    CONFIDENCE,
    CONTRADICTED,
    CONTRADICTED_AT_END,
    CONTRADICTED_IN_PART,
    END,
    HOLDS,
    IN_PART,
    LOSS,
    MOST_SEEDS,
    ONLY_AT_END,
    ONLY_AT_END_IN_PART,
    UNCONTROLLED,
    UNCONTROLLED_IN_PART,
    Finding,
    Judged,
    TestedPrediction,
)

__all__ = [
    "CANNOT_TELL",
    "CONDITIONS",
    "CONFIDENCE",
    "CONTRADICTED",
    "CONTRADICTED_AT_END",
    "CONTRADICTED_IN_PART",
    "END",
    "HOLDS",
    "IN_PART",
    "LOSS",
    "MOST_SEEDS",
    "ONLY_AT_END",
    "ONLY_AT_END_IN_PART",
    "UNCONTROLLED",
    "UNCONTROLLED_IN_PART",
    "Finding",
    "Judged",
    "TestedPrediction",
]
