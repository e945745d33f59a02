"""The registry of scores and what each declares of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sharpscope.condition import Chosen
from sharpscope.registry import Registry
from sharpscope.task import CLASSIFICATION

# What the head is given for test samples: after the training, and before it.
FEATURES, INITIAL_FEATURES = "features", "initial_features"


@dataclass(frozen=True)
class ScoreFacts:
    """What a score declares.

    Attributes:
        label: Its name in a report: "Expected calibration error".
        better: Which direction is better; None where neither is.
        unit: "fraction", "nats", ...
        scale: How values are compared: by their ``ratio``, of what is positive and spans decades, or by their
            ``difference``; None declares nothing, and they are compared by their difference, as scores of pairs are.
        of_pairs: True if it compares two runs of one cell that differ in their seed only; the function then
            takes two ``Predictions``.
        bounds: The least and the largest value it can take.
        tasks: The names of the tasks that it is defined for.
        needs: Which clean predictions it reads: "train", "test", or both; "calibration" if it makes use of those on
            the calibration split where there is one. A score of pairs may read "features", what the head is given, and
            "initial_features", those before the training.
        conditions: Chooses the conditions that it reads predictions under, by its options: ``of_kind("weights")``,
            ``named("fog")``, or a function of its own; raises a ``DataError``, before anything is run, if there are no
            such conditions for the data. None of a score that reads clean predictions alone.
        reference: Where it is defined.
        default: Whether a study has it that does not name its scores.
        undefined: When it is NaN: "where all samples are right"; empty if never.
        by_classes: Whether it depends on the predicted classes alone, or on features, and no temperature changes it.
        by_sample: Of a score that is a mean over the test set, ``(predictions, **options) -> array``: what each test
            sample adds, shape ``[N]``, as truth values or numbers. A report tells by it what other test samples would
            change. None of a score that is no such mean.
    """

    label: str
    better: Literal["higher", "lower"] | None
    unit: str
    scale: Literal["ratio", "difference"] | None = None
    of_pairs: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    tasks: tuple[str, ...] = (CLASSIFICATION.name,)
    needs: tuple[str, ...] = ("test",)
    conditions: Chosen | None = None
    reference: str = ""
    default: bool = True
    undefined: str = ""
    by_classes: bool = False
    by_sample: Callable[..., np.ndarray] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads of what the head is given: "features", "initial_features", both or nothing."""
        return tuple(name for name in (FEATURES, INITIAL_FEATURES) if name in self.needs)

    @property
    def direction(self) -> str:
        """Which direction is better, in words."""
        return f"{self.better} is better" if self.better else "neither direction is better"


# A score is ``(predictions: Predictions, *, options) -> float``; of pairs, it takes the predictions of two
# runs.
SCORES: Registry = Registry("score", package="sharpscope.safety")
