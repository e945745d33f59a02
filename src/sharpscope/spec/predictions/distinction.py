"""Predictions that levels are not all alike."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator

from sharpscope.spec.predictions.prediction import ALL, Prediction, as_levels


class Distinction(Prediction):
    """That levels of a factor are not all alike, in whatever order they stand.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
        differ: The levels, as a report names them, two or more; ``all`` stands for every level.
    """

    kind: ClassVar[str] = "distinction"
    mark: ClassVar[str] = "differ"
    of_levels: ClassVar[bool] = True

    differ: tuple[str, ...]

    @field_validator("differ", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> Any:
        return as_levels(value)

    @field_validator("differ")
    @classmethod
    def _several(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == (ALL,):
            return value
        if ALL in value:
            raise ValueError(f"'{ALL}' stands for every level; write it alone, or list the levels without it")
        if len(value) < 2:
            got = f"'{value[0]}'" if value else "none"
            raise ValueError(f"expected '{ALL}', or two levels or more of the claim's factor that differ, not {got}")
        twice = sorted({level for level in value if value.count(level) > 1})
        if twice:
            raise ValueError(f"the levels that differ are different ones, and '{twice[0]}' is listed twice")
        return value

    @property
    def named(self) -> frozenset[str]:
        """The levels that it calls by their names."""
        return frozenset(self.differ) - {ALL}

    def __str__(self) -> str:
        levels = "the levels" if ALL in self.differ else ", ".join(self.differ)
        return f"{levels} differ by {', '.join(self.quantities)}"
