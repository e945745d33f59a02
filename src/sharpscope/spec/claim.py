"""A claim: a published statement about sharpness, written so that a study can judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from sharpscope.spec.factor import REGIME
from sharpscope.spec.predictions import Prediction, kind_of
from sharpscope.spec.structure import Strict


class Claim(Strict):
    """A published statement and what it predicts of a study.

    Attributes:
        name: ``paper/sharper-minima``, or the path of a user's own file.
        title: It in a few words.
        statement: It in one or two sentences.
        source: Where it was published.
        factor: What its levels are levels of; studies that compare another factor have nothing to say of these.
        controls: What must not be the reason of a difference for it to stand: ``loss``, that train losses differ, and
            ``confidence``, that outputs differ in scale alone.
        predictions: What it predicts.
    """

    name: str
    title: str
    statement: str
    source: str
    factor: str = REGIME
    controls: tuple[Literal["loss", "confidence"], ...] = ("loss", "confidence")
    predictions: tuple[SerializeAsAny[Prediction], ...] = Field(min_length=1)

    @field_validator("predictions", mode="before")
    @classmethod
    def _of_their_kinds(cls, value: Any) -> Any:
        """Read plain predictions, each as the kind that it is meant to be."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        return [kind_of(one).model_validate(one) if isinstance(one, Mapping) else one for one in value]

    @property
    def of_levels(self) -> bool:
        """Whether any of its predictions is about the levels of its factor."""
        return any(one.of_levels for one in self.predictions)

    @property
    def quantities(self) -> tuple[str, ...]:
        """All columns that its predictions speak of."""
        return tuple(dict.fromkeys(name for one in self.predictions for name in one.columns))

    def of_columns(self, known: Mapping[str, Any] | set[str]) -> Claim | None:
        """Return it as far as a study with some columns can judge it; None where it cannot at all."""
        kept = [found for one in self.predictions if (found := one.limited(known)) is not None]
        return self.model_copy(update={"predictions": tuple(kept)}) if kept else None
