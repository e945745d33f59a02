"""Surrogate gap guided SAM: smaller loss nearby, and smaller gap to the loss here."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, climb, gradients, orthogonal


class GapSam(Excursion):
    """SAM's step, less the part of the plain gradient that is orthogonal to SAM's.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        alpha: How much of that part is subtracted.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, alpha: float) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.alpha = alpha

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward()
        moved, plain = gradients(self.weights)
        with self.away():
            climb(moved, plain, self.rho)
            backward()
        if moved:
            _, sharp = gradients(moved)
            torch._foreach_sub_(sharp, torch._foreach_mul(orthogonal(plain, sharp), self.alpha))
        self.optimizer.step()
        return found


@REGIMES.register()
def gsam(recipe: Recipe, *, rho: PositiveFloat = 0.05, alpha: NonNegativeFloat = 0.4) -> Recipe:
    r"""Surrogate gap guided SAM: also reduce the gap between the loss nearby and the loss here.

    With the plain gradient g and SAM's :math:`g_s`, the step is on :math:`g_s - \alpha \, g_\perp`, where
    :math:`g_\perp` is the part of g orthogonal to :math:`g_s`: it raises the loss here without changing the one
    nearby. Costs what SAM costs.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood, the same at every step.
        alpha: How much of the orthogonal part is subtracted; 0 is SAM.

    Reference: Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, Algorithm 1.
    """
    return recipe.with_update(partial(GapSam, rho=rho, alpha=alpha))
