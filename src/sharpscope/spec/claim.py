"""A claim: a published statement about sharpness, written so that a study can judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

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
        at: Where it is stated, and judged: at the ``end`` of training, or at equal train ``loss``; then it has no
            controls.
        controls: What must not be the reason of a difference for it to stand: ``loss``, that train losses differ, and
            ``confidence``, that outputs differ in scale alone.
        predictions: What it predicts.
    """

    name: str
    title: str
    statement: str
    source: str
    factor: str = REGIME
    at: Literal["end", "loss"] = "end"
    controls: tuple[Literal["loss", "confidence"], ...] = ("loss", "confidence")
    predictions: tuple[SerializeAsAny[Prediction], ...] = Field(min_length=1)

    @field_validator("predictions", mode="before")
    @classmethod
    def _of_their_kinds(cls, value: Any) -> Any:
        """Read plain predictions, each as the kind that it is meant to be."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        return [kind_of(one).model_validate(one) if isinstance(one, Mapping) else one for one in value]

    @model_validator(mode="before")
    @classmethod
    def _without_controls(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("at") != "loss":
            return value
        if value.get("controls"):
            raise ValueError("a claim that is stated at equal train loss has no controls; leave controls out")
        return {**value, "controls": ()}

    @model_validator(mode="after")
    def _of_levels_at_equal_loss(self) -> Self:
        others = [one.kind for one in self.predictions if not one.of_levels]
        if self.at == "loss" and others:
            raise ValueError(
                f"a claim that is stated at equal train loss (at: loss) is about levels, and a {others[0]} is not; "
                "leave at out, since it has options of its own for the loss"
            )
        return self

    @property
    def conditions(self) -> tuple[str, ...]:
        """Under which conditions its predictions are looked at: the end of training is always one."""
        return ("end", *(self.controls if self.at == "end" else (self.at,)))

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
