"""What is seen of a graph says truly whether its end is piecewise linear in its beginnings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope.curvature.autograd.linearity import is_piecewise_linear

GENERATOR = torch.Generator().manual_seed(0)
SQUARE = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
IMAGE = torch.randn(2, 3, 4, 4, generator=GENERATOR, dtype=torch.float64)
CONV = nn.Conv2d(3, 2, 3, padding=1).double().requires_grad_(False)
NORM = nn.BatchNorm2d(3).double().requires_grad_(False)
WITHOUT_STATISTICS = nn.BatchNorm2d(3, track_running_stats=False).double().requires_grad_(False).eval()


class Relu(torch.autograd.Function):
    """Bears the name of an operation that is piecewise linear."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return 2 * x * gradient


LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "sums": lambda x: (3 * x - x.mean()) / 2 + SQUARE[0, 0] * x.sum(dim=1, keepdim=True).neg() + 1,
    "convolution": lambda x: CONV(x),
    "batch_norm": lambda x: NORM.eval()(x),
    "batch_norm_of_features": lambda x: F.batch_norm(x.flatten(1), torch.zeros(48).double(), torch.ones(48).double()),
    "products": lambda x: x @ SQUARE + SQUARE @ x + x * SQUARE + F.linear(x, SQUARE, SQUARE[0]),
    "pooling": lambda x: F.max_pool2d(x, 2) + F.avg_pool2d(x, 2) + F.adaptive_avg_pool2d(x, 1),
    "flat_pooling": lambda x: F.max_pool1d(x[0], 2) + F.avg_pool1d(x[0], 2),
    "adaptive_maximum": lambda x: F.adaptive_max_pool2d(x, 2),
    "activations": lambda x: F.relu(x) + F.leaky_relu(x) + F.relu6(x) + F.hardtanh(x) + x.clamp(-1, 2) + x.abs(),
    "in_place": lambda x: F.relu_((x + 1).add_(x)),
    "moved": lambda x: torch.cat([x.transpose(2, 3).reshape(2, -1), x.flatten(1)[:, ::2]], dim=1).unsqueeze(0),
    "padded": lambda x: F.pad(x, (1, 1, 1, 1)) + F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "chosen": lambda x: torch.where(x > 0, x, -x) + x.masked_fill(x > 1, 0) + x * (x > 0),
    "maximum": lambda x: x.amax(dim=1) + x.max(dim=1).values + torch.maximum(x[:, 0], x[:, 1]),
    "interpolated": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear") + F.interpolate(x, scale_factor=2),
    "constant": lambda x: SQUARE.tanh(),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "softmax": lambda x: x.softmax(dim=1),
    "square": torch.square,
    "power": lambda x: x**2,
    "product": lambda x: x * x.flip(0),
    "matrix_product": lambda x: x @ x,
    "quotient": lambda x: 1 / (x + 9),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "group_norm": lambda x: F.group_norm(x, 1),
    "instance_norm": F.instance_norm,
    "batch_norm_in_training": lambda x: F.batch_norm(x, None, None, training=True),
    "batch_norm_without_statistics": lambda x: WITHOUT_STATISTICS(x),
    "generated_weight": lambda x: F.conv2d(x, x[:, :, :3, :3]),
    "generated_scale": lambda x: F.batch_norm(x, torch.zeros(3).double(), torch.ones(3).double(), x.mean((0, 2, 3))),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "norm": lambda x: x.norm(dim=1),
    "function_of_a_user": Relu.apply,
}


@pytest.mark.parametrize("name", LINEAR)
def test_piecewise_linear_functions_are_known(name: str) -> None:
    x = IMAGE.clone().requires_grad_()
    y = LINEAR[name](x)
    assert is_piecewise_linear(y)
    if y.requires_grad:
        # Between kinks the function goes on as its derivative says.
        step = 1e-6 * SQUARE
        moved = LINEAR[name](IMAGE + step)
        _, tangent = torch.autograd.functional.jvp(LINEAR[name], IMAGE, step.expand_as(IMAGE))
        torch.testing.assert_close(moved, y.detach() + tangent, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_passes_for_piecewise_linear(name: str) -> None:
    assert not is_piecewise_linear(OTHERS[name](IMAGE.clone().requires_grad_()))
