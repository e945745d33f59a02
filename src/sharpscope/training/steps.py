"""Update steps: how gradients become new weights.

An update is made for a model and its optimizer, once, and then called at every step with a way to evaluate
the gradient of the current batch wherever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Pass(NamedTuple):
    """What one forward and backward pass over a batch found.

    Attributes:
        loss: Mean loss, a detached scalar.
        outputs: Detached, shape ``[N, C]``.
    """

    loss: Tensor
    outputs: Tensor


# Clears the gradients, runs one forward and one backward pass over the batch, and leaves its gradients in
# ``.grad``.
Backward = Callable[[], Pass]
Step = Callable[[Backward], Pass]
Update = Callable[[nn.Module, Optimizer], Step]


def sgd(model: nn.Module, optimizer: Optimizer) -> Step:
    """Make the plain step: the optimizer's own, on the gradient where the weights are."""

    def step(backward: Backward) -> Pass:
        found = backward()
        optimizer.step()
        return found

    return step


def sam(model: nn.Module, optimizer: Optimizer, *, rho: float, adaptive: bool = False) -> Step:
    r"""Make the sharpness-aware step: the optimizer's own, on the gradient at the worst point nearby.

    With the gradient g at the weights :math:`\theta`, the second one is taken at :math:`\theta + \epsilon`,

    .. math:: \epsilon = \rho \, g / \|g\|, \quad \text{adaptive: } \rho \, \theta^2 g / \|\theta g\|,

    with the norm over all parameters jointly. Weights are put back to the bit before the optimizer steps.
    Buffers, such as the running statistics of BatchNorm, see the first pass only.

    Args:
        model: Whose trained parameters are moved; those without a gradient stay.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        adaptive: Whether distances are relative to each weight.

    Returns:
        The step; it reports the first pass, at the weights themselves.

    Reference: Foret et al., ICLR 2021, Algorithm 1; Kwon et al., ICML 2021, Algorithm 1 with the
    normalization operator :math:`|\theta|` and without its stabilizer.
    """
    weights = Snapshot(parameter for parameter in model.parameters() if parameter.requires_grad)
    buffers = Snapshot(model.buffers())

    def step(backward: Backward) -> Pass:
        found = backward()
        with restored(weights), restored(buffers):
            _climb(weights.tensors, rho, adaptive)
            backward()
        optimizer.step()
        return found

    return step


@torch.no_grad()
def _climb(weights: Sequence[Tensor], rho: float, adaptive: bool) -> None:
    """Move weights in place to the worst point at distance ``rho``, to first order.

    Args:
        weights: Leaves; those without a gradient stay, and all stay where the gradient is zero.
        rho: The distance.
        adaptive: Whether it is relative to each weight.
    """
    moved = [weight for weight in weights if weight.grad is not None]
    direction = [weight.grad for weight in moved if weight.grad is not None]
    if not moved:
        return
    if adaptive:
        direction = list(torch._foreach_mul(direction, moved))
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(direction)))
    if adaptive:
        direction = list(torch._foreach_mul(direction, moved))
    # No .item(): the scale stays on the device, so the host runs ahead.
    scale = torch.where(norm > 0, rho / norm, 0.0)
    torch._foreach_add_(moved, list(torch._foreach_mul(direction, scale)))


class Snapshot:
    """Copies of tensors, taken and put back without allocating anything.

    Args:
        tensors: Changed in place only, so that they are the same objects at every step.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        self._copies = [tensor.detach().clone() for tensor in self.tensors]

    @torch.no_grad()
    def take(self) -> None:
        """Copy the tensors as they are."""
        if self.tensors:
            torch._foreach_copy_(self._copies, self.tensors)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the tensors back to the bit."""
        if self.tensors:
            torch._foreach_copy_(self.tensors, self._copies)


@contextmanager
def restored(snapshot: Snapshot) -> Iterator[None]:
    """Put the tensors of ``snapshot`` back at the end of a block, however it ends."""
    snapshot.take()
    try:
        yield
    finally:
        snapshot.restore()
