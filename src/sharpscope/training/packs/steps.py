"""The update steps of packs: at which weights the gradient is taken that the optimizer is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from sharpscope.training.packs.factors import Factor
from sharpscope.training.packs.network import NotPacked
from sharpscope.training.packs.optimizers import Optimizer
from sharpscope.training.packs.weights import Weights
from sharpscope.training.recipe import Recipe
from sharpscope.training.steps import Step
from sharpscope.training.updates.sam import Sam


class Backward(Protocol):
    """Evaluates the current batch of each network at any weights; see ``Network.gradient``."""

    def __call__(self, weights: Weights, into: Weights, *, beta: Factor = 0.0, alpha: float = 1.0) -> Tensor:
        """Leave the gradient, and return the outputs."""


class PlainStep:
    """The optimizer's own step, on the gradient where the weights are.

    Args:
        weights: Of all networks; they are changed in place.
        options: Of the update step of each network.
    """

    def __init__(self, weights: Weights, options: Sequence[dict[str, Any]]) -> None:
        self.weights = weights

    def __call__(self, backward: Backward, optimizer: Optimizer, factor: float) -> Tensor:
        """Take the step; return the outputs that stand for it in the record of the training."""
        return _stepped(self.weights, backward, optimizer, factor)


class SamStep(PlainStep):
    """The optimizer's step on the gradient at the worst point nearby; it reports the outputs at the weights."""

    def __init__(self, weights: Weights, options: Sequence[dict[str, Any]]) -> None:
        super().__init__(weights, options)
        self._rho = weights.flat.new_tensor([each["rho"] for each in options])
        self._adaptive = bool(options[0].get("adaptive", False))
        self._plain, self._away = weights.zeros(), weights.zeros()

    def __call__(self, backward: Backward, optimizer: Optimizer, factor: float) -> Tensor:
        """Take the step."""
        outputs = backward(self.weights, self._plain)
        self._climb()
        _stepped(self._away, backward, optimizer, factor)
        return outputs

    def _climb(self) -> None:
        """Put ``away`` at the worst point, to first order."""
        here, plain, away = self.weights.flat, self._plain, self._away.flat
        if not self._adaptive:
            torch.addcmul(here, plain.flat, plain.spread(_ratio(self._rho, plain.norms())), out=away)
            return
        plain.flat.mul_(here)
        scale = plain.spread(_ratio(self._rho, plain.norms()))
        torch.addcmul(here, plain.flat.mul_(here), scale, out=away)


# By what makes the step of a network alone.
_STEPS: dict[Callable[..., Step], type[PlainStep]] = {Step: PlainStep, Sam: SamStep}


def step_of(recipe: Recipe) -> type[PlainStep]:
    """Return the update step of packs that a recipe wants.

    Raises:
        NotPacked: If there is none.
    """
    made = recipe.update.func if isinstance(recipe.update, partial) else recipe.update
    if made not in _STEPS:
        raise NotPacked(f"the update step {getattr(made, '__name__', made)}")
    return _STEPS[made]


def options_of(recipe: Recipe) -> dict[str, Any]:
    """Return the options of the update step of a recipe."""
    return dict(recipe.update.keywords) if isinstance(recipe.update, partial) else {}


def _stepped(at: Weights, backward: Backward, optimizer: Optimizer, factor: float) -> Tensor:
    """Let the optimizer take a step on the gradient at some weights; return the outputs there."""
    outputs: list[Tensor] = []

    def gradient(into: Weights, *, beta: Factor = 0.0, alpha: float = 1.0) -> None:
        outputs.append(backward(at, into, beta=beta, alpha=alpha))

    optimizer.step(factor, gradient)
    return outputs[0]


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    # Where the gradient is zero the weights stay.
    return torch.where(denominator > 0, numerator / denominator, 0.0)
