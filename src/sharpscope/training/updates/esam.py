"""Efficient SAM: an ascent along some of the weights, a descent by the samples that it hurts most."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, climb, gradients

Share = Annotated[float, Field(gt=0, le=1)]


class EfficientSam(Excursion):
    """SAM's step with a part of the weights in the ascent and a part of the samples in the descent.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        beta: Probability of each parameter to be moved in the ascent.
        gamma: Share of the samples whose gradient is that of the step.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, beta: float, gamma: float) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.beta = beta
        self.gamma = gamma

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward(weights=self._drawn())
        with self.away():
            climb(*gradients(self.weights), self.rho / self.beta)
            backward(chosen=self._sharpest(backward, found))
        self.optimizer.step()
        return found

    def _drawn(self) -> list[Tensor] | None:
        """Return the weights that are moved in the ascent; None for all, which leaves the random state alone."""
        if self.beta == 1:
            return None
        drawn = (torch.rand(len(self.weights), device="cpu") < self.beta).tolist()
        return [weight for weight, wanted in zip(self.weights, drawn, strict=True) if wanted]

    def _sharpest(self, backward: Backward, found: Pass) -> Tensor | None:
        """Return the samples whose loss has risen most since a pass, in their order; None for all."""
        if self.gamma == 1:
            return None
        rise = backward.losses() - backward.losses(found)
        # BatchNorm in train mode needs two.
        count = max(round(self.gamma * len(rise)), min(2, len(rise)))
        return rise.topk(count).indices.sort().values


@REGIMES.register()
def esam(recipe: Recipe, *, rho: PositiveFloat = 0.05, beta: Share = 0.6, gamma: Share = 0.5) -> Recipe:
    r"""Efficient SAM: climb along some of the weights, descend by the samples whose loss rises most.

    Each parameter, a whole tensor, is moved in the ascent with probability :math:`\beta`. Only the gradient g of those
    drawn is computed, and they are moved by :math:`\rho / \beta \, g / \|g\|`. A forward pass there tells how much the
    loss of each sample has risen, and the step is on the gradient of the share :math:`\gamma` with the largest rise. It
    costs a forward pass more than SAM and parts of its two gradients less, which pays on networks that keep the machine
    busy.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.
        beta: Probability of a parameter to be moved.
        gamma: Share of the samples in the descent; with both at 1 it is SAM.

    Reference: Du et al., "Efficient Sharpness-aware Minimization for Improved Training of Neural Networks", ICLR 2022,
        with the values and the normalization of the authors' code.
    """
    return recipe.with_update(partial(EfficientSam, rho=rho, beta=beta, gamma=gamma))
