"""Predictions that quantities move together."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from sharpscope.spec.predictions.prediction import Prediction, listed


class Relation(Prediction):
    """That two quantities move together over runs that differ in their seed only, or against each other.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
        outcomes: What each of them is said to move with; columns of the ledger.
        sign: ``positive`` where both grow together.
        given_loss: Whether the train loss is held equal, so that what it explains is not counted.
    """

    kind: ClassVar[str] = "relation"
    mark: ClassVar[str] = "outcomes"
    names: ClassVar[tuple[str, ...]] = ("quantities", "outcomes")

    outcomes: tuple[str, ...] = Field(min_length=1)
    sign: Literal["positive", "negative"]
    given_loss: bool = False

    @field_validator("outcomes", mode="before")
    @classmethod
    def _outcomes(cls, value: Any) -> Any:
        return listed(value)

    def __str__(self) -> str:
        how = "with" if self.sign == "positive" else "against"
        held = ", at equal train loss" if self.given_loss else ""
        return f"{', '.join(self.quantities)} move {how} {', '.join(self.outcomes)} within a level{held}"
