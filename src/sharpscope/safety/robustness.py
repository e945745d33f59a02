"""Scores of robustness: what is left under corruption."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from sharpscope.benchmark import BENCHMARK
from sharpscope.errors import DataError
from sharpscope.safety.calibration import calibration_error
from sharpscope.safety.predictions import Corrupted, Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import grouped

Which = Literal["all", "benchmark"]


def chosen(options: Mapping[str, Any], corruptions: Collection[str]) -> list[str]:
    """Return the corruptions that a score is the mean over.

    Args:
        options: Of the score; ``corruptions`` says which.
        corruptions: Of a dataset; those of a published suite have its name before theirs: ``CIFAR-10-C/fog``.

    Raises:
        DataError: If those of the benchmark are wanted, and they are not all there as published.
    """
    if options["corruptions"] == "all":
        return list(corruptions)
    published = {name.rpartition("/")[2]: name for name in corruptions if "/" in name}
    if not published.keys() >= set(BENCHMARK):
        raise DataError(
            f"the benchmark of corruptions is {len(BENCHMARK)} published ones, such as those of CIFAR-10-C, and these "
            f"data have {', '.join(corruptions)}; take the mean over 'all'"
        )
    return [published[name] for name in BENCHMARK]


@SCORES.register(
    facts=ScoreFacts(
        "Corruption accuracy",
        "higher",
        "fraction",
        needs=("test", "corrupted"),
        chosen=chosen,
        reference=(
            'Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and '
            'Perturbations", ICLR 2019'
        ),
    )
)
def corruption_accuracy(predictions: Predictions, *, corruptions: Which = "all") -> float:
    """Accuracy on corrupted test sets, averaged over corruptions and severities.

    CIFAR-10-C and CIFAR-100-C hold 19 corruptions: the 15 of the benchmark of their authors, and 4 that these leave to
    validation (gaussian_blur, saturate, spatter, speckle_noise). All 19 are averaged here by default; published errors
    under corruption are mostly of the 15. Tiny ImageNet-C holds the 15, so that both means are the same.

    Args:
        predictions: Of one run.
        corruptions: ``all`` that the test set comes under, or the 15 of the ``benchmark``.

    Raises:
        DataError: If the predictions hold no corrupted test sets, or not those of the benchmark.
    """
    corrupted = _corrupted(predictions, "corruption_accuracy", corruptions)
    return float((corrupted.predicted == predictions.test.targets).mean())


@SCORES.register(
    facts=ScoreFacts(
        "Calibration error under corruption",
        "lower",
        "fraction",
        needs=("test", "corrupted"),
        chosen=chosen,
        reference=(
            "Ovadia et al., \"Can You Trust Your Model's Uncertainty? Evaluating Predictive Uncertainty Under Dataset "
            'Shift", NeurIPS 2019'
        ),
    )
)
def corruption_ece(
    predictions: Predictions,
    *,
    bins: Annotated[int, Field(ge=1)] = 15,
    norm: Literal["l1", "l2", "max"] = "l1",
    corruptions: Which = "all",
) -> float:
    """Expected calibration error on corrupted test sets, averaged over corruptions and severities.

    The confidences are stored in half precision, each to 0.00025.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.
        corruptions: As of ``corruption_accuracy``.

    Raises:
        DataError: If the predictions hold no corrupted test sets, or not those of the benchmark.
    """
    corrupted = _corrupted(predictions, "corruption_ece", corruptions)
    correct = corrupted.predicted == predictions.test.targets
    conditions = zip(corrupted.confidence.astype(np.float64), correct, strict=True)
    return float(np.mean([calibration_error(grouped(sure, right, bins), norm) for sure, right in conditions]))


def _corrupted(predictions: Predictions, score: str, which: Which) -> Corrupted:
    if predictions.corrupted is None:
        raise DataError(
            f"{score} needs predictions on corrupted test sets, got none; "
            "leave the score out where the data are not images"
        )
    if which == "all":
        return predictions.corrupted
    return predictions.corrupted.of(chosen({"corruptions": which}, predictions.corrupted.corruptions))
