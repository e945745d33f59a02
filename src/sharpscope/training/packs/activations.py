"""What is applied to each number between linear layers, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_aten = torch.ops.aten
# Numbers that any processor goes through at a time divide this.
_VECTORS = 128


@dataclass(frozen=True)
class Activation:
    """A function of each number.

    Attributes:
        name: Equal for equal functions.
        forward: The function; it may write over its argument if ``from_output``.
        backward: Derivatives by its results, and what is kept, to derivatives by its arguments; it may write these over
            the former, which are in the cache.
        from_output: Whether the results are kept; else the arguments.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    from_output: bool = True


def _over(backward: Callable[..., Tensor], **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return an operation of PyTorch for a derivative that writes it over its first argument."""

    def written(above: Tensor, kept: Tensor) -> Tensor:
        return backward(above, kept, **options, grad_input=above)

    return written


def _in_vectors(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    """Return a function of each number that rounds in one way wherever the number lies.

    Exponentials and the like are computed in vectors of the processor, and those of numbers that fill none in another
    way. Which these are depends on how many networks there are, so here all numbers fill vectors, in each thread.
    """

    def computed(*values: Tensor) -> Tensor:
        found = values[0]
        left = -found.numel() % (_VECTORS * torch.get_num_threads())
        if not left:
            return function(*values, **options)
        filled = function(*(pad(tensor.flatten(), (0, left)) for tensor in values), **options)
        return filled[: found.numel()].view(found.shape)

    return computed


def _relu(module: Any) -> Activation:
    return Activation("relu", torch.relu_, _over(_aten.threshold_backward.grad_input, threshold=0))


def _leaky_relu(module: Any) -> Activation | None:
    slope = module.negative_slope
    # Only then does a result tell the sign of its argument.
    if slope < 0:
        return None
    back = _over(_aten.leaky_relu_backward.grad_input, negative_slope=slope, self_is_result=True)
    return Activation(f"leaky_relu {slope}", partial(torch.nn.functional.leaky_relu_, negative_slope=slope), back)


def _tanh(module: Any) -> Activation:
    return Activation("tanh", _in_vectors(torch.tanh), _over(_aten.tanh_backward.grad_input))


def _sigmoid(module: Any) -> Activation:
    return Activation("sigmoid", _in_vectors(torch.sigmoid), _over(_aten.sigmoid_backward.grad_input))


def _gelu(module: Any) -> Activation:
    how = {"approximate": module.approximate}
    forward, backward = _in_vectors(torch.nn.functional.gelu, **how), _in_vectors(_aten.gelu_backward.default, **how)
    return Activation(f"gelu {module.approximate}", forward, backward, from_output=False)


def _silu(module: Any) -> Activation:
    forward, backward = _in_vectors(torch.nn.functional.silu), _in_vectors(_aten.silu_backward.default)
    return Activation("silu", forward, backward, from_output=False)


# By the very type of a module: a subclass may compute something else.
ACTIVATIONS: dict[type[nn.Module], Callable[[Any], Activation | None]] = {
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.GELU: _gelu,
    nn.SiLU: _silu,
}
