"""LookSAM: the second gradient every few steps only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, add_along, climb, gradients, orthogonal


class LookSam(Excursion):
    """SAM's step now and then; in between its part across the gradient is reused.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        every: Steps from one second gradient to the next.
        alpha: Weight of the reused part, relative to the gradient's norm.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, every: int, alpha: float) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.every = every
        self.alpha = alpha
        self._taken = 0
        self._across = [torch.zeros_like(weight) for weight in self.weights]

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward()
        moved, gradient = gradients(self.weights)
        across = [part for part, weight in zip(self._across, self.weights, strict=True) if weight.grad is not None]
        if self._taken % self.every == 0:
            with self.away():
                climb(moved, gradient, self.rho)
                backward()
            if moved:
                torch._foreach_copy_(across, orthogonal(gradients(moved)[1], gradient))
        else:
            add_along(gradient, across, self.alpha)
        self._taken += 1
        self.optimizer.step()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the reused part and its age."""
        return {"taken": self._taken, "across": self._across}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._taken = state["taken"]
        torch._foreach_copy_(self._across, state["across"])


@REGIMES.register()
def looksam(recipe: Recipe, *, rho: PositiveFloat = 0.05, every: PositiveInt = 5, alpha: PositiveFloat = 0.7) -> Recipe:
    r"""LookSAM: sharpness-aware minimization at little more than the cost of plain training.

    Every ``every`` steps it is SAM's step, and the part :math:`g_v` of the second gradient that is orthogonal to the
    first is kept. In between the gradient g is used as :math:`g + \alpha \, \|g\| \, g_v / \|g_v\|`: one pass.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.
        every: Steps from one second gradient to the next; 1 is SAM.
        alpha: Weight of the reused part.

    Reference: Liu et al., "Towards Efficient and Scalable Sharpness-Aware Minimization", CVPR 2022, Algorithm 1,
        without the layer-wise scaling that the authors add for very large batches.
    """
    return recipe.with_update(partial(LookSam, rho=rho, every=every, alpha=alpha))
