"""Samples mixed in pairs, and their targets with them."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import PositiveFloat
from scipy.special import betaincinv
from torch import Tensor
from torch.nn.functional import one_hot

from sharpscope.errors import DataError
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import OF_CLASSES, REGIMES


def blend(
    inputs: Tensor, targets: Tensor, classes: int, draws: torch.Generator, *, alpha: float
) -> tuple[Tensor, Tensor]:
    """Blend each sample with another one of its batch, all by the same share.

    Args:
        inputs: Of any shape ``[N, ...]``.
        targets: Class indices ``[N]``.
        classes: Number of classes, C.
        draws: Source of the pairs and of the share.
        alpha: The share is drawn from Beta(alpha, alpha).

    Returns:
        Inputs of the same shape, and probabilities of the classes ``[N, C]``.

    Raises:
        DataError: If the inputs are symbols.
    """
    if not inputs.is_floating_point():
        raise DataError("mixup blends numbers, and these inputs are symbols; take it out of the regimes")
    share, other = _share(draws, alpha), torch.randperm(len(inputs), generator=draws, device=inputs.device)
    probabilities = one_hot(targets, classes).to(inputs.dtype)
    return inputs.lerp(inputs[other], 1 - share), probabilities.lerp(probabilities[other], 1 - share)


def paste(
    inputs: Tensor, targets: Tensor, classes: int, draws: torch.Generator, *, alpha: float
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of another image of the batch into each image, the same rectangle in all.

    Args:
        inputs: Images ``[N, C, H, W]``.
        targets: Class indices ``[N]``.
        classes: Number of classes, C.
        draws: Source of the pairs and of the rectangle.
        alpha: The share of the image that is to stay is drawn from Beta(alpha, alpha); where the rectangle reaches
            over the border, the targets follow what is really pasted.

    Returns:
        Images of the same shape, and probabilities of the classes ``[N, C]``.

    Raises:
        DataError: If the inputs are no images.
    """
    if inputs.ndim != 4:
        raise DataError(
            f"cutmix needs images [N, C, H, W], got inputs of shape {tuple(inputs.shape)}; take it out of the regimes"
        )
    height, width = inputs.shape[2:]
    side, other = (1 - _share(draws, alpha)) ** 0.5, torch.randperm(len(inputs), generator=draws, device=inputs.device)
    middle = torch.rand(2, generator=draws, device=inputs.device).tolist()
    top, bottom = _span(middle[0], side, height)
    left, right = _span(middle[1], side, width)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[other, :, top:bottom, left:right]
    pasted = (bottom - top) * (right - left) / (height * width)
    probabilities = one_hot(targets, classes).to(inputs.dtype)
    return mixed, probabilities.lerp(probabilities[other], pasted)


def _share(draws: torch.Generator, alpha: float) -> float:
    uniform = torch.rand((), generator=draws, device=draws.device, dtype=torch.float64)
    return float(betaincinv(alpha, alpha, uniform.item()))


def _span(middle: float, side: float, size: int) -> tuple[int, int]:
    center, half = int(middle * size), round(side * size) / 2
    return max(0, round(center - half)), min(size, round(center + half))


@REGIMES.register(facts=OF_CLASSES)
def mixup(recipe: Recipe, *, alpha: PositiveFloat = 0.2) -> Recipe:
    """Blends of pairs of samples, with blended targets.

    Accuracy in the record of the training is over the class with the larger share.

    Args:
        recipe: The recipe to change.
        alpha: The share of the first is drawn from Beta(alpha, alpha), once a batch.

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    return recipe.with_only("mixing of samples", mix=partial(blend, alpha=alpha))


@REGIMES.register(facts=OF_CLASSES)
def cutmix(recipe: Recipe, *, alpha: PositiveFloat = 1.0) -> Recipe:
    """Images with a rectangle of another image, with targets mixed by area.

    Args:
        recipe: The recipe to change.
        alpha: The share that stays is drawn from Beta(alpha, alpha), once a batch.

    Reference: Yun et al., "CutMix", ICCV 2019.
    """
    return recipe.with_only("mixing of samples", mix=partial(paste, alpha=alpha))
