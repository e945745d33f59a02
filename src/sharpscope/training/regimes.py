"""The parts that regimes are composed of: each changes a recipe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pydantic import NonNegativeFloat, PositiveFloat

from sharpscope.training import steps
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES


@REGIMES.register()
def baseline(recipe: Recipe) -> Recipe:
    """No regularization beyond the training's own settings."""
    return recipe


@REGIMES.register()
def sam(recipe: Recipe, *, rho: PositiveFloat = 0.05, adaptive: bool = False) -> Recipe:
    """Sharpness-aware minimization: descend by the gradient at the worst point nearby.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.
        adaptive: Measure distances relative to each weight (ASAM), which asks for a larger ``rho``.

    Reference: Foret et al., "Sharpness-Aware Minimization", ICLR 2021; Kwon et al., "ASAM", ICML 2021.
    """
    return recipe.with_update(partial(steps.sam, rho=rho, adaptive=adaptive))


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
