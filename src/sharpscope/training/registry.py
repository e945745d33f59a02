"""The registries of regimes and of learning rate schedules."""

from __future__ import annotations

from sharpscope.registry import Registry

# A regime is ``(recipe: Recipe, *, options) -> Recipe``.
REGIMES: Registry = Registry(
    "regime", package=("sharpscope.training", "sharpscope.training.updates", "sharpscope.training.regularizers")
)

# A schedule is ``(step: int, steps: int) -> float``: the factor on the learning rate at step 0 .. steps - 1.
SCHEDULES: Registry = Registry("schedule", package="sharpscope.training")
