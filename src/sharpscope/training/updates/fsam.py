"""Friendly SAM: an ascent by what is peculiar to the batch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, gradients, move


class FriendlySam(Excursion):
    """SAM's step with an ascent along the gradient less its moving average.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        sigma: How much of the average is subtracted.
        decay: Of the average.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, sigma: float, decay: float) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.sigma = sigma
        self.decay = decay
        self._begun = False
        self._average = [torch.zeros_like(weight) for weight in self.weights]

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward()
        moved, gradient = gradients(self.weights)
        average = [part for part, weight in zip(self._average, self.weights, strict=True) if weight.grad is not None]
        with self.away():
            if moved:
                move(moved, torch._foreach_sub(gradient, torch._foreach_mul(average, self.sigma)), self.rho)
            backward()
        if moved:
            # The first gradient is the average itself, rather than a fraction of it.
            torch._foreach_lerp_(average, gradient, 1 - self.decay if self._begun else 1.0)
        self._begun = True
        self.optimizer.step()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the moving average."""
        return {"begun": self._begun, "average": self._average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._begun = state["begun"]
        torch._foreach_copy_(self._average, state["average"])


@REGIMES.register()
def fsam(
    recipe: Recipe,
    *,
    rho: PositiveFloat = 0.05,
    sigma: NonNegativeFloat = 1.0,
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
) -> Recipe:
    r"""Friendly SAM: climb by what is peculiar to the batch, not by the gradient that all batches share.

    The ascent is along :math:`g - \sigma m`, with m the moving average of the gradients of earlier steps (zero at the
    first step). Costs what SAM costs.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.
        sigma: How much of the average is subtracted; 0 is SAM.
        decay: Of the average.

    Reference: Li et al., "Friendly Sharpness-Aware Minimization", CVPR 2024; with the average before it takes in the
        current gradient, as in the authors' code.
    """
    return recipe.with_update(partial(FriendlySam, rho=rho, sigma=sigma, decay=decay))
