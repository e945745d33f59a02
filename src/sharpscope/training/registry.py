"""The registries of regimes and of learning rate schedules, and what a regime declares of itself."""

from __future__ import annotations

from dataclasses import dataclass

from sharpscope.registry import Registry
from sharpscope.task import CLASSIFICATION, TASKS


@dataclass(frozen=True)
class RegimeFacts:
    """What a regime declares.

    Attributes:
        tasks: The names of the tasks that it is defined for.
    """

    tasks: tuple[str, ...] = tuple(TASKS)


# Of a regime that changes labels, or needs the probabilities of classes.
OF_CLASSES = RegimeFacts(tasks=(CLASSIFICATION.name,))

# A regime is ``(recipe: Recipe, *, options) -> Recipe``.
REGIMES: Registry = Registry(
    "regime", package=("sharpscope.training", "sharpscope.training.updates", "sharpscope.training.regularizers")
)

# A schedule is ``(step: int, steps: int) -> float``: the factor on the learning rate at step 0 .. steps - 1.
SCHEDULES: Registry = Registry("schedule", package="sharpscope.training")
