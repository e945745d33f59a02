"""What scores share that are of one condition, at severities that an option names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sharpscope.condition import Case, Chosen, ConditionFacts, named
from sharpscope.errors import DataError
from sharpscope.safety.predictions import Predictions


def at_severities(condition: str, option: str) -> Chosen:
    """Return the choice of a condition, of which an option of the score names severities.

    Args:
        condition: Its name.
        option: That of the option.
    """

    def choose(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
        found = named(condition)(options, offered)
        facts = offered[condition]
        if isinstance(facts, ConditionFacts):
            _check(condition, options[option], facts.severities)
        return found

    return choose


def correct_at(predictions: Predictions, condition: str, severities: Collection[int]) -> np.ndarray:
    """Return at which share of some severities of a condition each test sample is classified right, shape ``[N]``.

    Raises:
        DataError: If there are no predictions at one of them.
    """
    found = {case.severity: split.correct for case, split in predictions.cases_under(named(condition)).items()}
    _check(condition, severities, found)
    return np.mean([found[severity] for severity in severities], axis=0)


def accuracy_at(predictions: Predictions, condition: str, severities: Collection[int]) -> float:
    """Return the accuracy under a condition, averaged over some of its severities.

    Raises:
        DataError: If there are no predictions at one of them.
    """
    found = {case.severity: split.correct.mean() for case, split in predictions.cases_under(named(condition)).items()}
    _check(condition, severities, found)
    return float(np.mean([found[severity] for severity in severities]))


def _check(condition: str, wanted: Collection[int], known: Collection[int]) -> None:
    missing = [str(severity) for severity in wanted if severity not in known]
    if missing or not wanted:
        told = ", ".join(missing) or "none of them"
        raise DataError(f"'{condition}' has the severities {', '.join(map(str, known))}, got {told}; choose among them")
