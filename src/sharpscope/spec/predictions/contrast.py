"""Predictions that levels differ."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator

from sharpscope.spec.predictions.prediction import ALL, Prediction, as_levels

Direction = Literal["sharper", "flatter", "better", "worse", "larger", "smaller"]


class Contrast(Prediction):
    """That levels of a factor differ from the reference in one direction.

    Attributes:
        levels: Those that it speaks of, as a report names them; ``all`` stands for all but the reference.
        quantities: Columns of the ledger, as they are called at the end of training.
        direction: Where the levels lie: sharper or flatter by a measure, better or worse by a score, or larger or
            smaller whatever it means.
        reference: What they are compared with; the reference of the study where it is None.
    """

    kind: ClassVar[str] = "contrast"
    mark: ClassVar[str] = "direction"
    of_levels: ClassVar[bool] = True

    levels: tuple[str, ...] = (ALL,)
    direction: Direction
    reference: str | None = None

    @field_validator("levels", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> Any:
        return as_levels(value)

    @property
    def named(self) -> frozenset[str]:
        """The levels that it calls by their names."""
        return frozenset((*self.levels, *([self.reference] if self.reference else ()))) - {ALL}

    def __str__(self) -> str:
        levels = "every other level" if ALL in self.levels else ", ".join(self.levels)
        than = self.reference or "the reference"
        return f"{levels}: {self.direction} than {than} by {', '.join(self.quantities)}"
