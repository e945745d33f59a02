"""The registries of regimes and of learning rate schedules, and what a regime declares of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sharpscope.registry import Registry
from sharpscope.task import CLASSIFICATION, TASKS


@dataclass(frozen=True)
class RegimeFacts:
    """What a regime declares.

    Attributes:
        tasks: The names of the tasks that it is defined for.
        like: The corruptions that are like what it does to training images: under these it is robust because it was
            trained on them, and a report can tell them from the others.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    like: tuple[str, ...] = ()


# Of a regime that changes labels, or needs the probabilities of classes.
OF_CLASSES = RegimeFacts(tasks=(CLASSIFICATION.name,))

# A regime is ``(recipe: Recipe, *, options) -> Recipe``.
REGIMES: Registry = Registry(
    "regime", package=("sharpscope.training", "sharpscope.training.updates", "sharpscope.training.regularizers")
)


def corruptions_like(parts: Iterable[str]) -> list[str]:
    """Return the corruptions that are like what a combination of regimes does to training images.

    >>> corruptions_like(["augmentation", "sam"])
    ['elastic_transform']
    """
    facts = [REGIMES[name].facts for name in parts]
    return sorted({corruption for told in facts if told is not None for corruption in told.like})


# A schedule is ``(step: int, steps: int) -> float``: the factor on the learning rate at step 0 .. steps - 1.
SCHEDULES: Registry = Registry("schedule", package="sharpscope.training")
