"""Predictions that quantities move along levels that have an order."""

from __future__ import annotations

from typing import ClassVar

from sharpscope.spec.predictions.contrast import Direction
from sharpscope.spec.predictions.prediction import Prediction


class Trend(Prediction):
    """That quantities move in one direction along the levels of a factor that have an order.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
        trend: Where they go as the level rises: sharper or flatter, better or worse, larger or smaller.
    """

    kind: ClassVar[str] = "trend"
    mark: ClassVar[str] = "trend"
    of_levels: ClassVar[bool] = True

    trend: Direction

    def __str__(self) -> str:
        return f"the higher the level, the {self.trend} by {', '.join(self.quantities)}"
