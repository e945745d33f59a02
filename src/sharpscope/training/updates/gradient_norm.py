"""A penalty on the norm of the gradient, by finite differences."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import PositiveFloat
from torch import nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, climb, gradients


class PenalizedGradient(Excursion):
    """The optimizer's step on the gradient of the loss plus a multiple of the gradient's norm.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: The step of the finite difference.
        strength: The multiple.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, strength: float) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.share = strength / rho

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward()
        moved, plain = gradients(self.weights)
        with self.away():
            climb(moved, plain, self.rho)
            backward()
        if moved:
            torch._foreach_lerp_(plain, gradients(moved)[1], self.share)
            for weight, gradient in zip(moved, plain, strict=True):
                weight.grad = gradient
        self.optimizer.step()
        return found


@REGIMES.register()
def gradient_norm_penalty(recipe: Recipe, *, strength: PositiveFloat = 0.03, rho: PositiveFloat = 0.05) -> Recipe:
    r"""A penalty on the norm of the gradient over all parameters.

    The gradient of :math:`L + \lambda \|\nabla L\|` is approximated by that of the penalty along itself,
    :math:`(1 - \lambda/\rho) \, g(\theta) + (\lambda/\rho) \, g(\theta + \rho g / \|g\|)`. Costs what SAM costs, and is
    SAM where strength and ``rho`` are equal.

    Args:
        recipe: The recipe to change.
        strength: The factor on the norm, :math:`\lambda`.
        rho: The step of the finite difference.

    Reference: Zhao et al., "Penalizing Gradient Norm for Efficiently Improving Generalization in Deep Learning",
        ICML 2022.
    """
    return recipe.with_update(partial(PenalizedGradient, rho=rho, strength=strength))
