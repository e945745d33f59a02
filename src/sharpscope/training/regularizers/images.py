"""Augmentations that suit images of any kind, beside the dataset's own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import Field, PositiveInt

from sharpscope.data.augmentations import policies
from sharpscope.data.dataset import Augmentation
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES, RegimeFacts

# What the operations of both policies are like: color, brightness, contrast, smoothing, and geometric distortion.
_POLICY = RegimeFacts(like=("brightness", "contrast", "defocus_blur", "elastic_transform", "gaussian_blur", "saturate"))


def _with_change(recipe: Recipe, name: str, change: Augmentation) -> Recipe:
    return replace(recipe, image_changes={**recipe.image_changes, name: change})


@REGIMES.register(facts=RegimeFacts(like=("spatter",)))
def cutout(recipe: Recipe, *, side: Annotated[float, Field(gt=0, le=1)] = 0.5) -> Recipe:
    """A square of each image is blanked out.

    Args:
        recipe: The recipe to change.
        side: Of the square, as a share of the shorter side of the image.

    Reference: DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """
    return _with_change(recipe, "cutout", partial(policies.cutout, side=side))


@REGIMES.register(facts=_POLICY)
def trivial_augment(recipe: Recipe) -> Recipe:
    """Each image goes through one operation, drawn with its strength: TrivialAugment.

    Mirroring and cropping are not among the operations; combine it with ``augmentation`` where they suit the data.

    Reference: Müller & Hutter, "TrivialAugment", ICCV 2021, with the operations and ranges of RandAugment.
    """
    return _with_change(recipe, "trivial_augment", policies.trivial_augment)


@REGIMES.register(facts=_POLICY)
def rand_augment(
    recipe: Recipe, *, operations: PositiveInt = 2, strength: Annotated[float, Field(ge=0, le=1)] = 0.3
) -> Recipe:
    """Each image goes through a few operations of one strength: RandAugment.

    Args:
        recipe: The recipe to change.
        operations: How many, one after another.
        strength: Of each, 1 being the largest (magnitude 30 of the paper).

    Reference: Cubuk et al., "RandAugment", NeurIPS 2020.
    """
    change = partial(policies.rand_augment, operations=operations, strength=strength)
    return _with_change(recipe, "rand_augment", change)
