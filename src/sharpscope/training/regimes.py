"""The parts that regimes are composed of: each changes a recipe."""

from __future__ import annotations

from dataclasses import replace

from pydantic import NonNegativeFloat

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES


@REGIMES.register()
def baseline(recipe: Recipe) -> Recipe:
    """No regularization beyond the training's own settings."""
    return recipe


@REGIMES.register()
def augmentation(recipe: Recipe) -> Recipe:
    """The dataset's own augmentation, drawn anew for every batch."""
    return replace(recipe, augment=True)


@REGIMES.register()
def weight_decay(recipe: Recipe, *, value: NonNegativeFloat = 5e-4) -> Recipe:
    """Weight decay by the optimizer, on every parameter.

    It is what the optimizer calls so: an L2 penalty in SGD, decoupled in AdamW. An optimizer that decays by
    default (AdamW: 0.01) does so in every other regime too, unless ``optimizer_options: {weight_decay: 0}``
    switches that off; this part then switches it on again.

    Args:
        recipe: The recipe to change.
        value: The coefficient.
    """
    return recipe.with_optimizer_option("weight_decay", value)
