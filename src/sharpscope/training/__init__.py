"""Training: recipes, the regimes that change them, update steps and the loop."""

from __future__ import annotations

from sharpscope.training.checkpoint import CheckpointError
from sharpscope.training.compilation import NotCompiled, check_compiler
from sharpscope.training.history import Diverged, Epoch, History, Kept
from sharpscope.training.loop import train
from sharpscope.training.observers import Observer, Progress
from sharpscope.training.predict import predict
from sharpscope.training.recipe import Recipe, check
from sharpscope.training.registry import REGIMES, SCHEDULES, corruptions_like

__all__ = [
    "REGIMES",
    "SCHEDULES",
    "CheckpointError",
    "Diverged",
    "Epoch",
    "History",
    "Kept",
    "NotCompiled",
    "Observer",
    "Progress",
    "Recipe",
    "check",
    "check_compiler",
    "corruptions_like",
    "predict",
    "train",
]
