"""The kinds of predictions that a claim can make, a module each.

Each is judged by the function of its name in ``sharpscope.analysis.verdicts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpscope.spec.predictions.contrast import Contrast
from sharpscope.spec.predictions.distinction import Distinction
from sharpscope.spec.predictions.prediction import ALL, Prediction
from sharpscope.spec.predictions.relation import Relation
from sharpscope.spec.predictions.rivalry import Rivalry
from sharpscope.spec.predictions.trend import Trend

KINDS: tuple[type[Prediction], ...] = (Contrast, Distinction, Relation, Rivalry, Trend)


def kind_of(prediction: Mapping[str, Any]) -> type[Prediction]:
    """Return which kind of prediction a mapping is meant to be: that whose own key it has, else a contrast."""
    return next((kind for kind in KINDS if kind.mark in prediction), Contrast)


__all__ = ["ALL", "KINDS", "Contrast", "Distinction", "Prediction", "Relation", "Rivalry", "Trend", "kind_of"]
