"""The registry of scores and what each declares of itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sharpscope.registry import Registry
from sharpscope.task import CLASSIFICATION

# (options of a score, corruptions of a dataset) -> those that it is taken over.
Chosen = Callable[[Mapping[str, Any], Collection[str]], list[str]]


@dataclass(frozen=True)
class ScoreFacts:
    """What a score declares.

    Attributes:
        label: Its name in a report: "Expected calibration error".
        better: Which direction is better.
        unit: "fraction", "nats", ...
        of_pairs: True if it compares two runs of one cell that differ in their seed only; the function then
            takes two ``Predictions``.
        bounds: The least and the largest value it can take.
        tasks: The names of the tasks that it is defined for.
        needs: Which predictions it reads: any of "train", "test", "corrupted".
        chosen: Returns those of a dataset's corruptions that the score is taken over by its options; raises a
            ``DataError``, before anything is run, if the options do not suit them.
        reference: Where it is defined.
    """

    label: str
    better: Literal["higher", "lower"]
    unit: str
    of_pairs: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    tasks: tuple[str, ...] = (CLASSIFICATION.name,)
    needs: tuple[str, ...] = ("test",)
    chosen: Chosen | None = None
    reference: str = ""


# A score is ``(predictions: Predictions, *, options) -> float``; of pairs, it takes the predictions of two
# runs.
SCORES: Registry = Registry("score", package="sharpscope.safety")
