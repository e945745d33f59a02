"""Scores of robustness: what is left under corruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from sharpscope.benchmark import BENCHMARK
from sharpscope.condition import Case, ConditionFacts, of_kind
from sharpscope.errors import DataError
from sharpscope.safety.calibration import calibration_error
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import reliability_bins
from sharpscope.safety.splits import TopSplit

Which = Literal["all", "benchmark", "noise", "blur", "weather", "digital"]


def chosen(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
    """Return the corruptions that a score is the mean over.

    Args:
        options: Of the score; ``corruptions`` says which.
        offered: The conditions of a dataset; those of a published suite have its name before theirs:
            ``CIFAR-10-C/fog``.

    Raises:
        DataError: If there are no such corruptions, or those of the benchmark are wanted and are not all there as
            published.
    """
    corruptions = of_kind("inputs")(options, offered)
    which = options["corruptions"]
    if which == "all":
        return corruptions
    if which != "benchmark":
        of_family = [name for name in corruptions if offered[name].family == which]
        if not of_family:
            raise DataError(f"there is no corruption of the family '{which}' among {', '.join(corruptions)}")
        return of_family
    published = {name.rpartition("/")[2]: name for name in corruptions if "/" in name}
    if not published.keys() >= set(BENCHMARK):
        raise DataError(
            f"the benchmark of corruptions is {len(BENCHMARK)} published ones, such as those of CIFAR-10-C, and these "
            f"data have {', '.join(corruptions)}; take the mean over 'all'"
        )
    return [published[name] for name in BENCHMARK]


def over_conditions(cases: Mapping[Case, TopSplit], each: Callable[[TopSplit], Any]) -> np.ndarray:
    """Return the mean over severities of each condition, averaged over conditions, however many severities these have.

    Args:
        cases: What is kept in each case.
        each: From that to a number, or to an array of one shape.
    """
    found: dict[str, list[Any]] = {}
    for case, split in cases.items():
        found.setdefault(case.condition, []).append(each(split))
    return np.mean([np.mean(values, axis=0) for values in found.values()], axis=0)


def mean_by_sample(
    each: Callable[[TopSplit], np.ndarray],
) -> Callable[..., np.ndarray]:
    """Return what each test sample adds to a score that is a mean over corruptions, severities and samples.

    Args:
        each: From what is kept in one case to a number a sample, shape ``[N]``.
    """

    def by_sample(predictions: Predictions, *, corruptions: Which = "all") -> np.ndarray:
        return over_conditions(predictions.cases_under(chosen, corruptions=corruptions), each)

    return by_sample


@SCORES.register(
    facts=ScoreFacts(
        "Corruption accuracy",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=chosen,
        by_classes=True,
        by_sample=mean_by_sample(lambda split: split.correct),
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
        corruptions: ``all`` that the test set comes under, the 15 of the ``benchmark``, or those of one family:
            ``noise``, ``blur``, ``weather`` or ``digital``.

    Raises:
        DataError: If the predictions hold none under such corruptions.
    """
    cases = predictions.cases_under(chosen, corruptions=corruptions)
    return float(over_conditions(cases, lambda split: split.correct.mean()))


@SCORES.register(
    version=2,  # 1 was of confidences in half precision
    facts=ScoreFacts(
        "Calibration error under corruption",
        "lower",
        "fraction",
        scale="difference",
        needs=(),
        conditions=chosen,
        reference=(
            "Ovadia et al., \"Can You Trust Your Model's Uncertainty? Evaluating Predictive Uncertainty Under Dataset "
            'Shift", NeurIPS 2019'
        ),
    ),
)
def corruption_ece(
    predictions: Predictions,
    *,
    bins: Annotated[int, Field(ge=1)] = 15,
    norm: Literal["l1", "l2", "max"] = "l1",
    corruptions: Which = "all",
) -> float:
    """Expected calibration error on corrupted test sets, averaged over corruptions and severities.

    Args:
        predictions: Of one run.
        bins: As of ``ece``.
        norm: As of ``ece``.
        corruptions: As of ``corruption_accuracy``.

    Raises:
        DataError: If the predictions hold none under such corruptions.
    """
    cases = predictions.cases_under(chosen, corruptions=corruptions)
    return float(over_conditions(cases, lambda split: calibration_error(reliability_bins(split, bins), norm)))
