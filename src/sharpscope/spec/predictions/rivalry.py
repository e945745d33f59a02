"""Predictions that some quantities explain more than others."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from sharpscope.spec.predictions.prediction import Prediction, listed


class Rivalry(Prediction):
    """That some quantities together explain more of an outcome than others do.

    Attributes:
        quantities: Those that are said to explain more; columns of the ledger.
        explain_more_of: The outcomes; columns of the ledger.
        than: Those that are said to explain less; columns of the ledger.
    """

    kind: ClassVar[str] = "rivalry"
    mark: ClassVar[str] = "explain_more_of"
    names: ClassVar[tuple[str, ...]] = ("quantities", "explain_more_of", "than")

    explain_more_of: tuple[str, ...] = Field(min_length=1)
    than: tuple[str, ...] = Field(min_length=1)

    @field_validator("explain_more_of", "than", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return listed(value)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        every = (*self.quantities, *self.explain_more_of, *self.than)
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise ValueError(
                f"quantities, explain_more_of and than must name different columns, and {', '.join(twice)} stands twice"
            )
        return self

    def __str__(self) -> str:
        explained, others = ", ".join(self.explain_more_of), ", ".join(self.than)
        return f"{', '.join(self.quantities)} explain more of {explained} than {others} do"
