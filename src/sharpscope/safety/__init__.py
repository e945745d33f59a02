"""What a function is worth: scores computed from predictions, never from models."""

from __future__ import annotations

from sharpscope.safety.basic import test_accuracy, test_loss, train_accuracy, train_loss
from sharpscope.safety.predictions import Corrupted, Predictions, Split
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import ReliabilityBins, reliability_bins

__all__ = [
    "SCORES",
    "Corrupted",
    "Predictions",
    "ReliabilityBins",
    "ScoreFacts",
    "Split",
    "reliability_bins",
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
]
