"""Scores of models with altered weights: what is left when they are rounded or pruned."""

from __future__ import annotations

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.severities import accuracy_at, at_severities, correct_at

BITS, PERCENTS = (8, 6, 4, 3), (50, 80, 90)


@SCORES.register(
    facts=ScoreFacts(
        "Accuracy of rounded weights",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=at_severities("quantized", "bits"),
        by_classes=True,
        by_sample=lambda predictions, *, bits=BITS: correct_at(predictions, "quantized", bits),
        reference='Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295',
    )
)
def quantized_accuracy(predictions: Predictions, *, bits: tuple[int, ...] = BITS) -> float:
    """Test accuracy with weights rounded to a few bits, averaged over numbers of bits.

    Args:
        predictions: Of one run.
        bits: Which numbers of bits, among 8, 6, 4 and 3.

    Raises:
        DataError: If the predictions hold none with weights of so many bits.
    """
    return accuracy_at(predictions, "quantized", bits)


@SCORES.register(
    facts=ScoreFacts(
        "Accuracy of pruned weights",
        "higher",
        "fraction",
        scale="difference",
        needs=(),
        conditions=at_severities("pruned", "percents"),
        by_classes=True,
        by_sample=lambda predictions, *, percents=PERCENTS: correct_at(predictions, "pruned", percents),
        reference='Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015',
    )
)
def pruned_accuracy(predictions: Predictions, *, percents: tuple[int, ...] = PERCENTS) -> float:
    """Test accuracy with the smallest weights set to 0, averaged over their shares.

    Args:
        predictions: Of one run.
        percents: Which shares of the weights, among 50, 80 and 90 percent.

    Raises:
        DataError: If the predictions hold none with so many pruned.
    """
    return accuracy_at(predictions, "pruned", percents)
