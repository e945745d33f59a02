"""Scores of models with altered weights: what is left when they are rounded or pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sharpscope.condition import Case, Chosen, ConditionFacts, named
from sharpscope.errors import DataError
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts


def _at_severities(condition: str, option: str) -> Chosen:
    """Return the choice of a condition, of which an option of the score names severities."""

    def choose(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
        found = named(condition)(options, offered)
        facts = offered[condition]
        if isinstance(facts, ConditionFacts):
            _check(condition, options[option], facts.severities)
        return found

    return choose


def _check(condition: str, wanted: Collection[int], known: Collection[int]) -> None:
    missing = [str(severity) for severity in wanted if severity not in known]
    if missing or not wanted:
        told = ", ".join(missing) or "none of them"
        raise DataError(f"'{condition}' has the severities {', '.join(map(str, known))}, got {told}; choose among them")


@SCORES.register(
    facts=ScoreFacts(
        "Accuracy of rounded weights",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=_at_severities("quantized", "bits"),
        by_classes=True,
        reference='Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295',
    )
)
def quantized_accuracy(predictions: Predictions, *, bits: tuple[int, ...] = (8, 6, 4, 3)) -> float:
    """Test accuracy with weights rounded to a few bits, averaged over numbers of bits.

    Args:
        predictions: Of one run.
        bits: Which numbers of bits, among 8, 6, 4 and 3.

    Raises:
        DataError: If the predictions hold none with weights of so many bits.
    """
    return _accuracy(predictions, "quantized", bits)


@SCORES.register(
    facts=ScoreFacts(
        "Accuracy of pruned weights",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=_at_severities("pruned", "percents"),
        by_classes=True,
        reference='Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015',
    )
)
def pruned_accuracy(predictions: Predictions, *, percents: tuple[int, ...] = (50, 80, 90)) -> float:
    """Test accuracy with the smallest weights set to 0, averaged over their shares.

    Args:
        predictions: Of one run.
        percents: Which shares of the weights, among 50, 80 and 90 percent.

    Raises:
        DataError: If the predictions hold none with so many pruned.
    """
    return _accuracy(predictions, "pruned", percents)


def _accuracy(predictions: Predictions, condition: str, severities: Collection[int]) -> float:
    """Return the accuracy under a condition, averaged over some of its severities."""
    found = {case.severity: split.correct.mean() for case, split in predictions.cases_under(named(condition)).items()}
    _check(condition, severities, found)
    return float(np.mean([found[severity] for severity in severities]))
