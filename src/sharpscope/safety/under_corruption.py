"""Scores of probabilities under corruption, and of how much the corruptions that are taken decide."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sharpscope.condition import of_kind
from sharpscope.errors import DataError
from sharpscope.safety.calibration.selection import selective_errors
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.robustness import Which, chosen, mean_by_sample, over_conditions
from sharpscope.safety.splits import TopSplit

_facts = partial(ScoreFacts, scale="difference", needs=(), conditions=chosen, default=False)
_OVADIA = (
    'Ovadia et al., "Can You Trust Your Model\'s Uncertainty? Evaluating Predictive Uncertainty Under Dataset Shift", '
    "NeurIPS 2019"
)


@SCORES.register(
    facts=_facts(
        "Negative log-likelihood under corruption",
        "lower",
        "nats",
        scale="ratio",
        bounds=(0.0, float("inf")),
        by_sample=mean_by_sample(lambda split: split.losses),
        reference=_OVADIA,
    )
)
def corruption_nll(predictions: Predictions, *, corruptions: Which = "all") -> float:
    """Negative log-likelihood on corrupted test sets, averaged over corruptions and severities.

    Args:
        predictions: Of one run.
        corruptions: As of ``corruption_accuracy``.

    Raises:
        DataError: If the predictions hold none under such corruptions.
    """
    return _mean(predictions, corruptions, lambda split: split.cross_entropy)


@SCORES.register(
    facts=_facts(
        "Brier score under corruption",
        "lower",
        "squared probability",
        bounds=(0.0, 2.0),
        by_sample=mean_by_sample(lambda split: split.briers),
        reference=_OVADIA,
    )
)
def corruption_brier(predictions: Predictions, *, corruptions: Which = "all") -> float:
    """Squared distance of probabilities from the true class on corrupted test sets, averaged as the accuracy.

    Args:
        predictions: Of one run.
        corruptions: As of ``corruption_accuracy``.

    Raises:
        DataError: If the predictions hold none under such corruptions.
    """
    return _mean(predictions, corruptions, lambda split: split.brier)


@SCORES.register(
    facts=_facts(
        "Area under the risk-coverage curve under corruption",
        "lower",
        "fraction",
        reference='Geifman, Uziel & El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR '
        "2019; " + _OVADIA,
    )
)
def corruption_aurc(predictions: Predictions, *, corruptions: Which = "all") -> float:
    """Mean error of the most confident predictions over all shares that are kept, on corrupted test sets.

    Of equal confidences it is the mean over their orders. It is averaged as the accuracy.

    Args:
        predictions: Of one run.
        corruptions: As of ``corruption_accuracy``.

    Raises:
        DataError: If the predictions hold none under such corruptions.
    """
    return _mean(predictions, corruptions, lambda split: selective_errors(split.sureness, split.correct).mean())


@SCORES.register(
    facts=ScoreFacts(
        "Range of corruption accuracy",
        "lower",
        "fraction",
        scale="difference",
        needs=(),
        conditions=of_kind("inputs"),
        default=False,
        by_classes=True,
    )
)
def corruption_accuracy_range(predictions: Predictions) -> float:
    """Range of the accuracy under corruption as one family of corruptions after the other is left out.

    Where it is as large as a difference between regimes, the difference belongs to the choice of corruptions.

    Raises:
        DataError: If there are predictions under no corruption, or under those of one family.
    """
    cases = predictions.cases_under(of_kind("inputs"))
    families = sorted({case.family for case in cases})
    if len(families) < 2:
        raise DataError(f"a family is left out of several, and there is one: '{families[0]}'; leave the score out")
    rest = [{case: split for case, split in cases.items() if case.family != left} for left in families]
    means = [over_conditions(kept, lambda split: split.correct.mean()) for kept in rest]
    return float(max(means) - min(means))


def _mean(predictions: Predictions, corruptions: Which, score: Callable[[TopSplit], float]) -> float:
    """Return the mean of a score over corruptions and severities."""
    return float(over_conditions(predictions.cases_under(chosen, corruptions=corruptions), score))
