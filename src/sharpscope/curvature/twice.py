"""Operations written so that their second derivative is fast, in place of kernels whose own is slow.

A product with the Hessian differentiates the backward pass. PyTorch's second derivative of a convolution takes
gradients of filters as convolutions with kernels as large as images, and that of BatchNorm some twenty passes over
its tensors; together they are half of the time of a product. Here a convolution's second derivative is two
convolutions and one ordinary backward call, and a BatchNorm with fixed statistics is the affine map that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_convolution = torch.ops.aten.convolution
_convolution_backward = torch.ops.aten.convolution_backward


class TwiceDifferentiable(TorchFunctionMode):
    """Replaces convolutions and BatchNorm, wherever a model calls them, while it is entered."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


def _conv(plain: Callable[..., Tensor], dimensions: int) -> Callable[..., Tensor]:
    def convolve(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if isinstance(padding, str) or input.ndim != dimensions + 2 or not weight.requires_grad:
            return plain(input, weight, bias, stride, padding, dilation, groups)
        sizes = [_each(value, dimensions) for value in (stride, padding, dilation)]
        return _Convolution.apply(input, weight, bias, (*sizes, groups))

    return convolve


def _each(value: Any, dimensions: int) -> list[int]:
    return [value] * dimensions if isinstance(value, int) else list(value) * (dimensions // len(value))


class _Convolution(torch.autograd.Function):
    """A convolution whose backward pass is differentiable by ``_ConvolutionBackward``."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.how = how
        return _convolve(inputs, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        to_inputs, _, to_bias, _ = ctx.needs_input_grad
        # A gradient that is expanded from a mean has strides that the kernels would copy again and again.
        gradient = gradient.contiguous(memory_format=_format_of(inputs))
        if torch.is_grad_enabled():  # the gradient is wanted for its graph, not for its value
            pulled = _ConvolutionBackward.apply(gradient, inputs, weight, ctx.how, to_inputs)
        else:
            pulled = _pull_back(gradient, inputs, weight, ctx.how, to_inputs, True)
        of_bias = gradient.sum(dim=(0, *range(2, gradient.ndim))) if to_bias else None
        return pulled[0], pulled[1], of_bias, None


class _ConvolutionBackward(torch.autograd.Function):
    """The gradients of a convolution in its inputs and its weight; bilinear in the gradient and in both of these.

    A product with the Hessian needs the graph of the gradient in the weight but not its value, which is left out.
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, inputs: Tensor, weight: Tensor, how: tuple[Any, ...], to_inputs: bool
    ) -> tuple[Tensor | None, Tensor]:
        ctx.save_for_backward(gradient, inputs, weight)
        ctx.how = how
        ctx.set_materialize_grads(False)
        of_inputs, _ = _pull_back(gradient, inputs, weight, how, to_inputs, False)
        return of_inputs, _placeholder(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, of_inputs: Tensor | None, of_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        gradient, inputs, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        how = ctx.how  # type: ignore[attr-defined]
        forward = None
        if of_inputs is not None:
            forward = _convolve(of_inputs, weight, None, how)
        if of_weight is not None:
            of_weight = of_weight.contiguous(memory_format=_format_of(inputs))
            part = _convolve(inputs, of_weight, None, how)
            forward = part if forward is None else forward.add_(part)
        # One backward call gives both: the gradient in the inputs with one cotangent in the place of the weight, and
        # that in the weight with the other in the place of the inputs.
        to_inputs = of_weight is not None and ctx.needs_input_grad[1]  # type: ignore[attr-defined]
        pulled = _pull_back(
            gradient,
            inputs if of_inputs is None else of_inputs,
            weight if of_weight is None else of_weight,
            how,
            to_inputs,
            of_inputs is not None,
        )
        return forward, pulled[0], pulled[1], None, None


def _convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
    stride, padding, dilation, groups = how
    return _convolution(inputs, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _pull_back(
    gradient: Tensor, inputs: Tensor, weight: Tensor, how: tuple[Any, ...], to_inputs: bool, to_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    if not to_inputs and not to_weight:
        return None, None
    stride, padding, dilation, groups = how
    mask = [to_inputs, to_weight, False]
    none = [0] * len(stride)
    of_inputs, of_weight, _ = _convolution_backward(
        gradient, inputs, weight, None, stride, padding, dilation, False, none, groups, mask
    )
    return of_inputs, of_weight


def _placeholder(like: Tensor) -> Tensor:
    """Return a tensor of a shape, of no size in memory and no meaning."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand(like.shape)


def _format_of(tensor: Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    per_channel = (1, -1) + (1,) * (input.ndim - 2)
    return _Affine.apply(input, scale.view(per_channel), shift.view(per_channel))


class _Affine(torch.autograd.Function):
    """x * scale + shift by channel, whose backward pass is differentiable by ``_AffineBackward``."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, scale)
        return torch.addcmul(shift, inputs, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        inputs, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _AffineBackward.apply(gradient, inputs, scale)
        return gradient * scale, _by_channel(gradient * inputs, scale), _by_channel(gradient, scale)


class _AffineBackward(torch.autograd.Function):
    """The gradients of ``_Affine``; those in scale and shift are placeholders, as in ``_ConvolutionBackward``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, inputs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(gradient, inputs, scale)
        ctx.set_materialize_grads(False)
        return gradient * scale, _placeholder(scale), _placeholder(scale)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_inputs: Tensor | None, of_scale: Tensor | None, of_shift: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gradient, inputs, scale = ctx.saved_tensors
        # d/dg, d/dx and d/dscale of <of_inputs, g * scale> + <of_scale, g * x> + <of_shift, g>.
        forward = torch.zeros_like(scale) if of_shift is None else of_shift
        if of_scale is not None:
            forward = torch.addcmul(forward, inputs, of_scale)
        if of_inputs is not None:
            forward = torch.addcmul(forward, of_inputs, scale)
        to_inputs = None if of_scale is None else gradient * of_scale
        to_scale = None if of_inputs is None else _by_channel(of_inputs * gradient, scale)
        return forward.expand_as(gradient), to_inputs, to_scale


def _by_channel(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.sum(dim=(0, *range(2, tensor.ndim)), keepdim=True).view(like.shape)


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.conv1d: _conv(F.conv1d, 1),
    F.conv2d: _conv(F.conv2d, 2),
    F.conv3d: _conv(F.conv3d, 3),
    F.batch_norm: _batch_norm,
}
