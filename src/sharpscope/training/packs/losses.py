"""The losses of the networks of a pack, and their derivatives by outputs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sharpscope.objective import Classification, Objective, Regression
from sharpscope.training.recipe import LossFunction


class Loss(Protocol):
    """A mean over samples, of each of many networks or batches.

    Attributes:
        additive: Whether it certainly is one: then the derivative of a batch can be made part by part.
    """

    additive: bool

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return it, shape ``[...]``, of outputs ``[..., N, C]`` and targets ``[..., N]`` or ``[..., N, C]``."""

    def derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the derivative by the outputs of the sum of the losses of samples, shape ``[..., N, C]``."""


class CrossEntropy(Loss):
    """The cross-entropy of logits, in nats; targets are indices of classes."""

    additive = True

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean."""
        losses = cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return losses.view(targets.shape).mean(dim=-1)

    def derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what the probabilities are off by."""
        found = outputs.softmax(dim=-1)
        return found.scatter_add_(-1, targets[..., None], found.new_full((1,), -1.0).expand(*targets.shape, 1))


class SquaredError(Loss):
    """The squared error, averaged over outputs."""

    additive = True

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean."""
        return (outputs - targets.view_as(outputs)).square_().mean(dim=(-2, -1))

    def derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the error, times two over the number of outputs."""
        return (outputs - targets.view_as(outputs)).mul_(2 / outputs.shape[-1])


class Differentiated(Loss):
    """Any loss, one network at a time as far as it knows; its derivative is made by autograd.

    Args:
        loss: Outputs ``[N, C]`` and targets to their loss, such as a mean that weighs samples by their classes.
    """

    additive = False

    def __init__(self, loss: LossFunction) -> None:
        self._loss = loss

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean."""
        many = self._loss
        for _ in range(outputs.ndim - 2):
            many = torch.func.vmap(many)
        return many(outputs, targets)

    def derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return it."""
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            total = self.value(leaf, targets).sum() * outputs.shape[-2]
        # Its own: what comes next may write over it.
        return torch.autograd.grad(total, leaf)[0].contiguous()


_KNOWN: dict[type[Objective], type[Loss]] = {Classification: CrossEntropy, Regression: SquaredError}


def loss_of(objective: Objective, own: LossFunction | None = None) -> Loss:
    """Return the loss of a task, or the own one of a recipe."""
    known = _KNOWN.get(type(objective))
    return known() if known is not None and own is None else Differentiated(own or objective.loss)
