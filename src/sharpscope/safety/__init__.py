"""What a function is worth: scores computed from predictions, never from models."""

from __future__ import annotations

from sharpscope.safety.predictions import SPLITS, Corrupted, Predictions, RegressionSplit, Split
from sharpscope.safety.registry import SCORES, ScoreFacts

__all__ = ["SCORES", "SPLITS", "Corrupted", "Predictions", "RegressionSplit", "ScoreFacts", "Split"]
