"""Operations that are fast to differentiate twice have the derivatives of those that they replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharpscope.curvature.autograd.double_backward import TwiceDifferentiable


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def product(function: Callable[..., Tensor], tensors: list[Tensor], *, twice: bool) -> list[Tensor]:
    """Return the products of the Hessian of sum(f^3) in all tensors with fixed vectors."""
    leaves = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in tensors]
    if twice:
        with TwiceDifferentiable():
            value = function(*leaves).pow(3).sum()
    else:
        value = function(*leaves).pow(3).sum()
    gradient = torch.autograd.grad(value, leaves, create_graph=True)
    vectors = [drawn(*t.shape, seed=9 + i) for i, t in enumerate(leaves)]
    return list(torch.autograd.grad(gradient, leaves, vectors, materialize_grads=True))


CONVOLUTIONS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": (F.conv2d, (2, 3, 5, 5), (4, 3, 3, 3), {}),
    "strided": (F.conv2d, (2, 3, 7, 6), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    "uneven": (F.conv2d, (2, 3, 7, 6), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    "grouped": (F.conv2d, (2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": (F.conv2d, (2, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
    "pointwise": (F.conv2d, (2, 3, 4, 4), (5, 3, 1, 1), {}),
    "same": (F.conv2d, (2, 3, 5, 5), (4, 3, 3, 3), {"padding": "same"}),
    "sequence": (F.conv1d, (2, 3, 8), (4, 3, 3), {"padding": 1}),
    "volume": (F.conv3d, (1, 2, 4, 4, 4), (3, 2, 2, 2, 2), {"stride": 2}),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, bias: bool, channels_last: bool) -> None:
    function, inputs, weight, how = CONVOLUTIONS[name]
    tensors = [drawn(*inputs, seed=0), drawn(*weight, seed=1)] + ([drawn(weight[0], seed=2)] if bias else [])
    if channels_last:
        if len(inputs) != 4:
            pytest.skip("channels come last for images")
        tensors = [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors]

    def run(*leaves: Tensor) -> Tensor:
        return function(leaves[0], leaves[1], leaves[2] if bias else None, **how)

    for fast, plain in zip(product(run, tensors, twice=True), product(run, tensors, twice=False), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5), (2, 3, 4, 4)])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(shape: tuple[int, ...], affine: bool) -> None:
    mean, variance = drawn(3, seed=5), drawn(3, seed=6).square() + 0.5
    tensors = [drawn(*shape, seed=0)] + ([drawn(3, seed=1), drawn(3, seed=2)] if affine else [])

    def run(x: Tensor, *own: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, *own)

    for fast, plain in zip(product(run, tensors, twice=True), product(run, tensors, twice=False), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


MEAN, VARIANCE = drawn(4, seed=5), drawn(4, seed=6).square() + 0.5


def normalized(x: Tensor, *own: Tensor) -> Tensor:
    return F.batch_norm(x, MEAN, VARIANCE, *own)


def written_to(x: Tensor, w: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    y = F.conv2d(x, w)
    y *= 2
    return normalized(y, scale, shift)


# Functions of images x, filters w, and a scale and a shift by channel.
AFTER_CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "batch norm": lambda x, w, scale, shift: normalized(F.conv2d(x, w, padding=1), scale, shift),
    "bias and batch norm": lambda x, w, scale, shift: normalized(F.conv2d(x, w, shift), scale, shift),
    "fixed batch norm": lambda x, w, scale, shift: normalized(F.conv2d(x, w, shift)) + scale.sum(),
    "batch norm of computed scale": lambda x, w, scale, shift: normalized(F.conv2d(x, w), scale.exp(), shift),
    "batch norm of computed scale elsewhere": lambda x, w, scale, shift: normalized(
        F.conv2d(x, w) ** 2, scale.exp(), shift
    ),
    "output written to": written_to,
    "output used twice": lambda x, w, scale, shift: normalized(y := F.conv2d(x, w), scale, shift) * y,
    "computed filters": lambda x, w, scale, shift: F.conv2d(
        x, w * scale.exp().view(4, 1, 1, 1) / w.norm(), shift.sin()
    ),
    "relu": lambda x, w, scale, shift: normalized(F.conv2d(x, w), scale, shift).relu() + shift.sum(),
    "relu in place": lambda x, w, scale, shift: F.relu(normalized(F.conv2d(x, w), scale, shift), inplace=True) ** 2,
    "relu of a view in place": lambda x, w, scale, shift: F.relu(F.conv2d(x, w, shift)[:, 1:], inplace=True) * scale[0],
}


@pytest.mark.parametrize("name", AFTER_CONVOLUTIONS)
def test_what_follows_and_precedes_convolutions(name: str) -> None:
    tensors = [drawn(2, 3, 5, 5, seed=0), drawn(4, 3, 3, 3, seed=1), drawn(4, seed=2), drawn(4, seed=3)]
    function = AFTER_CONVOLUTIONS[name]
    for fast, plain in zip(
        product(function, tensors, twice=True), product(function, tensors, twice=False), strict=True
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


def test_first_derivatives_have_their_values() -> None:
    x, w = drawn(2, 3, 5, 5, seed=0), drawn(4, 3, 3, 3, seed=1).requires_grad_()
    with TwiceDifferentiable():
        (fast,) = torch.autograd.grad(F.conv2d(x, w).pow(3).sum(), w)
    (plain,) = torch.autograd.grad(F.conv2d(x, w).pow(3).sum(), w)
    torch.testing.assert_close(fast, plain)
