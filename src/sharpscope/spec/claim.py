"""A claim: a published statement about sharpness, written so that a study can judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from sharpscope.spec.factor import REGIME
from sharpscope.spec.structure import Strict

Direction = Literal["sharper", "flatter", "better", "worse", "larger", "smaller"]
ALL = "all"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


class Contrast(Strict):
    """That levels of a factor differ from the reference in one direction.

    Attributes:
        levels: Those that it speaks of, as a report names them; ``all`` stands for all but the reference.
        quantities: Columns of the ledger, as they are called at the end of training.
        direction: Where the levels lie: sharper or flatter by a measure, better or worse by a score, or larger or
            smaller whatever it means.
        reference: What they are compared with; the reference of the study where it is None.
    """

    levels: tuple[str, ...] = (ALL,)
    quantities: tuple[str, ...] = Field(min_length=1)
    direction: Direction
    reference: str | None = None

    @field_validator("levels", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> Any:
        found = _listed(value)
        return [str(level) for level in found] if isinstance(found, list) else found

    @field_validator("quantities", mode="before")
    @classmethod
    def _quantities(cls, value: Any) -> Any:
        return _listed(value)

    def __str__(self) -> str:
        levels = "every other level" if ALL in self.levels else ", ".join(self.levels)
        than = self.reference or "the reference"
        return f"{levels}: {self.direction} than {than} by {', '.join(self.quantities)}"


class Relation(Strict):
    """That two quantities move together over runs that differ in their seed only, or against each other.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
        outcomes: What each of them is said to move with; columns of the ledger.
        sign: ``positive`` where both grow together.
        given_loss: Whether the train loss is held equal, so that what it explains is not counted.
    """

    quantities: tuple[str, ...] = Field(min_length=1)
    outcomes: tuple[str, ...] = Field(min_length=1)
    sign: Literal["positive", "negative"]
    given_loss: bool = False

    @field_validator("quantities", "outcomes", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return _listed(value)

    def __str__(self) -> str:
        how = "with" if self.sign == "positive" else "against"
        held = ", at equal train loss" if self.given_loss else ""
        return f"{', '.join(self.quantities)} move {how} {', '.join(self.outcomes)} within a level{held}"


class Trend(Strict):
    """That quantities move in one direction along the levels of a factor that have an order.

    Attributes:
        quantities: Columns of the ledger, as they are called at the end of training.
        trend: Where they go as the level rises: sharper or flatter, better or worse, larger or smaller.
    """

    quantities: tuple[str, ...] = Field(min_length=1)
    trend: Direction

    @field_validator("quantities", mode="before")
    @classmethod
    def _quantities(cls, value: Any) -> Any:
        return _listed(value)

    def __str__(self) -> str:
        return f"the higher the level, the {self.trend} by {', '.join(self.quantities)}"


Prediction = Contrast | Relation | Trend


def kind_of(prediction: Mapping[str, Any]) -> type[Prediction]:
    """Return which kind of prediction a mapping is meant to be."""
    kinds: dict[str, type[Prediction]] = {"outcomes": Relation, "trend": Trend}
    return next((kind for key, kind in kinds.items() if key in prediction), Contrast)


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
    predictions: tuple[Prediction, ...] = Field(min_length=1)

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Those of its predictions that compare levels."""
        return tuple(one for one in self.predictions if isinstance(one, Contrast))

    @property
    def trends(self) -> tuple[Trend, ...]:
        """Those of its predictions that are about the order of levels."""
        return tuple(one for one in self.predictions if isinstance(one, Trend))

    @property
    def quantities(self) -> tuple[str, ...]:
        """All columns that its predictions speak of."""
        named = (name for one in self.predictions for name in (*one.quantities, *getattr(one, "outcomes", ())))
        return tuple(dict.fromkeys(named))

    def of_columns(self, known: Mapping[str, Any] | set[str]) -> Claim | None:
        """Return it as far as a study with some columns can judge it; None where it cannot at all."""
        kept = [found for one in self.predictions if (found := _limited(one, known)) is not None]
        return self.model_copy(update={"predictions": tuple(kept)}) if kept else None


def _limited(one: Prediction, known: Mapping[str, Any] | set[str]) -> Prediction | None:
    changed = {"quantities": tuple(name for name in one.quantities if name in known)}
    if isinstance(one, Relation):
        changed["outcomes"] = tuple(name for name in one.outcomes if name in known)
    return one.model_copy(update=changed) if all(changed.values()) else None
