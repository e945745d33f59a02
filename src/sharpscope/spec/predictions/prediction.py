"""What every kind of prediction of a claim has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from sharpscope.spec.structure import Strict


def listed(value: Any) -> Any:
    """Return what a YAML file says once, instead of a list of one, as that list."""
    return [value] if isinstance(value, str | int | float) else value


ALL = "all"


def as_levels(value: Any) -> Any:
    """Return the levels that a YAML file names as a list of texts, as a report names them."""
    found = listed(value)
    return [str(level) for level in found] if isinstance(found, list) else found


class Prediction(Strict):
    """What a claim predicts of a study; each kind of prediction is a class.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
    """

    kind: ClassVar[str]  # its name, under which it is judged
    mark: ClassVar[str]  # a key that no other kind has
    names: ClassVar[tuple[str, ...]] = ("quantities",)  # the keys that name columns; none of them may be empty
    of_levels: ClassVar[bool] = False  # whether it is about the levels of the claim's factor

    quantities: tuple[str, ...] = Field(min_length=1)

    @field_validator("quantities", mode="before")
    @classmethod
    def _quantities(cls, value: Any) -> Any:
        return listed(value)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it speaks of."""
        return tuple(dict.fromkeys(name for key in self.names for name in getattr(self, key)))

    @property
    def named(self) -> frozenset[str]:
        """The levels that it calls by their names."""
        return frozenset()

    def limited(self, known: Mapping[str, Any] | set[str]) -> Self | None:
        """Return it as far as a study with some columns can judge it; None where it cannot at all."""
        changed = {key: tuple(name for name in getattr(self, key) if name in known) for key in self.names}
        return self.model_copy(update=changed) if all(changed.values()) else None
