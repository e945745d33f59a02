"""How one run fares in each case of each condition, in a few numbers that are kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpscope.condition import Case
from sharpscope.safety.calibration.expected_error import calibration_error
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.reliability import reliability_bins
from sharpscope.safety.splits import TopSplit

# What is told of each case, and of the clean test set; the error is 1 - accuracy.
VALUES = ("accuracy", "nll", "ece", "brier")
# Those that a temperature changes.
OF_PROBABILITIES = ("nll", "ece", "brier")


def by_condition(predictions: Predictions) -> dict[str, Any]:
    """Return how a classifier fares under each condition that leaves it the classes of the test set, as plain data.

    Other data in place of the test set are left out: they may have no sample of any class.

    Returns:
        ``samples`` of the test set; ``clean``, its ``VALUES`` without a condition; and columns of equal length, a place
        for each case: ``condition``, ``kind``, ``family``, ``severity`` and the ``VALUES``. Severities of one condition
        go from slight to severe. The calibration error is that of 15 bins of equal width.
    """
    cases = {case: split for case, split in predictions.cases.items() if case.kind != "data"}
    rows = [{**_named(case), **_values(split)} for case, split in cases.items()]
    columns = ("condition", "kind", "family", "severity", *VALUES)
    return {
        "samples": len(predictions.test.targets),
        "clean": _values(predictions.test.condensed()),
        "cases": {name: [row[name] for row in rows] for name in columns},
    }


def mean_of(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of several tables of one run: of a twin, one for each time that the test set was halved.

    Args:
        tables: As ``by_condition`` makes them, of the same cases.
    """
    first = tables[0]
    means = {
        name: [float(np.mean(values)) for values in zip(*(table["cases"][name] for table in tables), strict=True)]
        for name in VALUES
    }
    clean = {name: float(np.mean([table["clean"][name] for table in tables])) for name in VALUES}
    return {**first, "clean": clean, "cases": {**first["cases"], **means}} if len(tables) > 1 else first


def _named(case: Case) -> dict[str, Any]:
    return {"condition": case.condition, "kind": case.kind, "family": case.family, "severity": case.severity}


def _values(split: TopSplit) -> dict[str, float]:
    found = (
        np.mean(split.correct),
        split.cross_entropy,
        calibration_error(reliability_bins(split), "l1"),
        split.brier,
    )
    return {name: float(value) for name, value in zip(VALUES, found, strict=True)}
