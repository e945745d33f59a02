"""Momentum-SAM: sharpness-aware training in one pass a step."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.optim import Optimizer

from sharpscope.errors import SpecError
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Pass, Step, TensorCopies, move, restored

# What the optimizers of ``torch.optim`` call their moving average of gradients.
_MOMENTA = ("momentum_buffer", "exp_avg")


class MomentumSam(Step):
    """The optimizer's step on the gradient at a point along its momentum; there is no other pass.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step, and has the momentum.
        rho: How far the weights are moved.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float) -> None:
        super().__init__(model, optimizer)
        self.rho = rho
        self._weights = TensorCopies(self.weights)

    def __call__(self, backward: Backward) -> Pass:
        """Take the step; it reports the pass away from the weights."""
        momenta = {weight: momentum(self.optimizer, weight) for weight in self.weights}
        known = {weight: vector for weight, vector in momenta.items() if vector is not None}
        with restored(self._weights):
            move(list(known), list(known.values()), -self.rho)
            found = backward()
        self.optimizer.step()
        return found


def momentum(optimizer: Optimizer, weight: Tensor) -> Tensor | None:
    """Return the momentum that an optimizer keeps of a weight; None before its first step, or if it keeps none."""
    state = optimizer.state.get(weight, {})
    return next((state[name] for name in _MOMENTA if isinstance(state.get(name), Tensor)), None)


@REGIMES.register()
def msam(recipe: Recipe, *, rho: PositiveFloat = 0.3) -> Recipe:
    r"""Momentum-SAM: take the gradient away from the weights along the momentum, at the cost of plain training.

    The gradient is taken at :math:`\theta - \rho \, v / \|v\|`, v the momentum before the step (nowhere else at the
    first step). BatchNorm sees that one pass, and the record of the training shows the loss there.

    Args:
        recipe: The recipe to change.
        rho: How far the weights are moved.

    Raises:
        SpecError: If the optimizer keeps no momentum.

    Reference: Becker et al., "Momentum-SAM: Sharpness Aware Minimization without Computational Overhead", 2024,
        Algorithm 1.
    """
    _check_momentum(recipe)
    return recipe.with_update(partial(MomentumSam, rho=rho))


def _check_momentum(recipe: Recipe) -> None:
    weight = nn.Parameter(torch.ones(1, 1))
    weight.grad = torch.ones(1, 1)
    optimizer = recipe.make_optimizer([weight])
    optimizer.step()
    if momentum(optimizer, weight) is None:
        raise SpecError(
            f"msam moves the weights along the optimizer's momentum, and '{recipe.optimizer}' keeps none as it is set; "
            "set training.momentum, or choose an optimizer that has one"
        )
