"""What a function is worth: scores computed from predictions, never from models."""

from __future__ import annotations

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.splits import SPLITS, RegressionSplit, Split, TopSplit

__all__ = ["SCORES", "SPLITS", "Predictions", "RegressionSplit", "ScoreFacts", "Split", "TopSplit"]
