"""What every update step is made of: how gradients become new weights.

An update is made for a model and its optimizer, once, and then called at every step with a way to evaluate the
gradient of the current batch wherever the weights are. So it knows nothing of precision or of micro-batches, and is
right with both. The steps that go beyond the optimizer's own are in ``updates``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sharpscope.curvature.risk.state import ForwardState, restored_state

# A vector over all parameters, in the parts that they are.
Vector = list[Tensor] | tuple[Tensor, ...]


class MiniBatch(NamedTuple):
    """One batch.

    Attributes:
        inputs: As the model sees them.
        targets: As the dataset has them, or probabilities ``[N, C]`` where the recipe mixes samples.
    """

    inputs: Tensor
    targets: Tensor

    def split(self, parts: int) -> list[MiniBatch]:
        """Return the batch in parts of about equal size."""
        if parts == 1:
            return [self]
        pairs = zip(self.inputs.chunk(parts), self.targets.chunk(parts), strict=True)
        return [MiniBatch(inputs, targets) for inputs, targets in pairs]

    def take(self, chosen: Tensor) -> MiniBatch:
        """Return the batch with some of its samples only, given by their indices."""
        return self._replace(inputs=self.inputs[chosen], targets=self.targets[chosen])


class Pass(NamedTuple):
    """What one forward and backward pass over a batch found.

    Attributes:
        loss: Mean loss, a detached scalar.
        outputs: Detached, shape ``[N, C]``.
    """

    loss: Tensor
    outputs: Tensor


class Backward(Protocol):
    """Evaluates the current batch, always the same samples, where the weights are now."""

    def __call__(self, *, weights: Sequence[Tensor] | None = None, chosen: Tensor | None = None) -> Pass:
        """Clear the gradients, go forward and backward over the batch, and leave its gradient in ``.grad``.

        Args:
            weights: Whose gradient is wanted; None for all.
            chosen: Which of the samples are passed and count, as indices; None for all.

        Raises:
            Overflow: If the gradient is not finite in half precision; the step is then not taken.
        """

    def losses(self, found: Pass | None = None) -> Tensor:
        """Return the loss of each sample, detached, shape ``[N]``.

        Args:
            found: The pass over all of them that has their outputs; None to go forward where the weights are now.
        """


class Step:
    """The plain step: the optimizer's own, on the gradient where the weights are.

    A step that raises must have changed neither weights nor its own state.

    Args:
        model: Whose trained parameters are to change.
        optimizer: Of these parameters.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer

    def __call__(self, backward: Backward) -> Pass:
        """Take the step; report the pass that stands for it in the record of the training."""
        found = backward()
        self.optimizer.step()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what later steps depend on, beside weights and optimizer: tensors, numbers and lists of them."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""


Update = Callable[[nn.Module, Optimizer], Step]


class Excursion(Step):
    """A step that evaluates the gradient away from the weights, and comes back to the bit.

    What a forward pass changes in the model comes back too, such as the running statistics of BatchNorm: buffers, plain
    tensors and numbers see the pass at the weights only, whether they are written in place or assigned anew.

    Args:
        model: Whose trained parameters are moved; those without a gradient stay.
        optimizer: Takes the step.
        rho: How far the weights are moved.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float) -> None:
        super().__init__(model, optimizer)
        self.rho = rho
        self._weights = TensorCopies(self.weights)
        self._state = ForwardState(model.modules())

    @contextmanager
    def away(self) -> Iterator[None]:
        """Put weights and the model's state back at the end of the block, however it ends."""
        with restored(self._weights), restored_state(self._state):
            yield


class TensorCopies:
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
def restored(snapshot: TensorCopies) -> Iterator[None]:
    """Put the tensors of ``snapshot`` back at the end of a block, however it ends."""
    snapshot.take()
    try:
        yield
    finally:
        snapshot.restore()


def gradients(weights: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights that have a gradient, and their gradients: tensors that the next pass leaves alone."""
    moved = [weight for weight in weights if weight.grad is not None]
    return moved, [weight.grad for weight in moved if weight.grad is not None]


def norm(vector: Vector) -> Tensor:
    """Return the Euclidean norm of a vector given in parts, a scalar; it stays on the device."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(vector)))


@torch.no_grad()
def move(weights: Vector, direction: Vector, length: float) -> None:
    """Move weights in place by ``length`` along a direction; they stay where the direction is zero."""
    if weights:
        _add_scaled(weights, direction, _ratio(length, norm(direction)))


@torch.no_grad()
def climb(weights: Vector, gradient: Vector, rho: float, *, adaptive: bool = False) -> None:
    r"""Move weights in place to the worst point at distance ``rho``, to first order.

    .. math:: \epsilon = \rho \, g / \|g\|, \quad \text{adaptive: } \rho \, \theta^2 g / \|\theta g\|,

    with the norm over all parameters jointly.

    Args:
        weights: Leaves; all stay where the gradient is zero.
        gradient: Their gradients.
        rho: The distance.
        adaptive: Whether it is relative to each weight.
    """
    if not weights:
        return
    if not adaptive:
        move(weights, gradient, rho)
        return
    relative = torch._foreach_mul(gradient, weights)
    _add_scaled(weights, torch._foreach_mul(relative, weights), _ratio(rho, norm(relative)))


@torch.no_grad()
def orthogonal(vector: Vector, to: Vector) -> list[Tensor]:
    """Return the part of a vector that is orthogonal to another; all of it where the other is zero."""
    inner = torch.stack([(a * b).sum() for a, b in zip(vector, to, strict=True)]).sum()
    along = torch._foreach_mul(to, _ratio(inner, norm(to).square()))
    return list(torch._foreach_sub(vector, along))


@torch.no_grad()
def add_along(gradient: Vector, direction: Vector, share: float) -> None:
    """Add to a gradient in place ``share`` of its own norm along a direction; nothing where that is zero."""
    if gradient:
        _add_scaled(gradient, direction, _ratio(share * norm(gradient), norm(direction)))


def _ratio(numerator: Tensor | float, denominator: Tensor) -> Tensor:
    # No .item(): the scale stays on the device, so the host runs ahead.
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def _add_scaled(tensors: Vector, direction: Vector, scale: Tensor) -> None:
    torch._foreach_add_(tensors, list(torch._foreach_mul(direction, scale)))
