"""What is measured along each training, as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from sharpscope.spec.component import named
from sharpscope.spec.structure import Strict


class Watch(Strict):
    """What is measured along each training.

    Attributes:
        every: Steps from one look to the next, from the initialization on.
        steps: The steps after which to look, in the place of ``every``; 0 is the initialization.
        measures: What is measured there: names, or keys with options.
        subset: How many training samples measures are taken on at most; all when None.
    """

    every: PositiveInt | None = None
    steps: list[NonNegativeInt] | None = Field(None, min_length=1)
    measures: dict[str, dict[str, Any]]
    subset: PositiveInt | None = None

    @field_validator("measures", mode="before")
    @classmethod
    def _measures(cls, value: Any) -> Any:
        return named("measure", value)

    @field_validator("steps")
    @classmethod
    def _rising(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and sorted(set(value)) != value:
            raise ValueError(f"watch.steps rise from one to the next, got {value}")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Watch:
        if (self.every is None) == (self.steps is None):
            raise ValueError("watch has either 'every', a number of steps, or 'steps', a list of them")
        return self

    @property
    def moments(self) -> dict[str, Any]:
        """When to look, as a stored result says it."""
        return {"every": self.every} if self.steps is None else {"steps": self.steps}


def steps_within(moments: Mapping[str, Any], total: int) -> list[int]:
    """Return after which of the steps of a training to look.

    Args:
        moments: Of a watch.
        total: The steps of the training.

    >>> steps_within({"every": 4}, 9), steps_within({"steps": [0, 1, 10]}, 9)
    ([0, 4, 8], [0, 1])
    """
    asked = range(0, total + 1, moments["every"]) if "every" in moments else moments["steps"]
    return [step for step in asked if step <= total]
