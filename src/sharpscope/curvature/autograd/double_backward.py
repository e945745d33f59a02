"""Operations written so that their second derivative is fast, in place of kernels whose own is slow.

A product with the Hessian differentiates the backward pass. PyTorch's second derivative of a convolution takes
gradients of filters as convolutions with kernels as large as images, that of BatchNorm some twenty passes over its
tensors, and that of ReLU adds zeros; together they are half of the time of a product. Here a convolution's second
derivative is two convolutions and one ordinary backward call. A BatchNorm with fixed statistics is the affine map that
it is; where it follows a convolution, both are differentiated as one convolution with scaled filters and a bias, and no
derivative passes over the tensors of the BatchNorm at all.

The kernel of weight normalization takes the norms in its own backward pass for constants, so that its second derivative
lacks terms without a word: it is written as the quotient that it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharpscope.curvature.autograd.sensitivity import DIFFERENTIATING

_convolution = torch.ops.aten.convolution
_convolution_backward = torch.ops.aten.convolution_backward
_threshold_backward = torch.ops.aten.threshold_backward
_DIMENSIONS: dict[Any, int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
_RELUS = {torch.relu, Tensor.relu, F.relu}


class TwiceDifferentiable(TorchFunctionMode):
    """Replaces convolutions, BatchNorm, ReLU and weight normalization, wherever a model calls them, while entered.

    Args:
        fast: False to replace only what has a wrong second derivative.

    Attributes:
        served: False if the model has differentiated inside its own forward pass, which would want a derivative more
            than the replaced operations have: what it returned is then good for nothing.
    """

    def __init__(self, *, fast: bool = True) -> None:
        super().__init__()
        self.served = True
        self._fast = fast
        self._latest: _Convolved | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch._weight_norm:
            return _weight_norm(*args, **kwargs)
        if not self._fast:
            return func(*args, **kwargs)
        if func in DIFFERENTIATING:
            self.served = False
        if func in _DIMENSIONS:
            self._latest = _convolved(_DIMENSIONS[func], *args, **kwargs)
            return func(*args, **kwargs) if self._latest is None else self._latest.output
        if func is F.batch_norm:
            return _batch_norm(self._latest, *args, **kwargs)
        if func in _RELUS:
            return _relu(*args, **kwargs)
        return func(*args, **kwargs)

    def __exit__(self, *exception: Any) -> None:
        self._latest = None
        super().__exit__(*exception)


@dataclass(frozen=True)
class _Convolved:
    """A convolution as it was called, and what came out."""

    output: Tensor
    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    how: tuple[Any, ...]
    versions: tuple[int, ...]

    def made(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is what came out and leads back here, and nothing was written or hooked to it since."""
        if tensor is not self.output or not tensor.requires_grad or tensor._backward_hooks:
            return False
        return self.versions == _versions(self.output, self.inputs, self.weight)

    def scaled(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Return ``output * scale + shift``, each ``[C]``, to be differentiated as one convolution."""
        weight = self.weight * scale.view(-1, *(1,) * (self.weight.ndim - 1))
        bias = shift if self.bias is None else shift + self.bias * scale
        return _Convolution.apply(self.inputs, weight, bias, self.how, (self.output, scale, shift))


def _versions(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(t._version for t in tensors)


def _convolved(
    dimensions: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Convolved | None:
    """Apply a convolution; None where only the plain function can."""
    if isinstance(padding, str) or input.ndim != dimensions + 2 or not weight.requires_grad:
        return None
    if not torch.is_grad_enabled():
        return None  # Nothing leads back here, from a BatchNorm that follows either.
    how = (*(_each(value, dimensions) for value in (stride, padding, dilation)), groups)
    output = _Convolution.apply(input, weight, bias, how, None)
    return _Convolved(output, input, weight, bias, how, _versions(output, input, weight))


def _each(value: Any, dimensions: int) -> list[int]:
    return [value] * dimensions if isinstance(value, int) else list(value) * (dimensions // len(value))


class _Convolution(torch.autograd.Function):
    """A convolution, or one whose output is scaled and shifted; its backward is ``_ConvolutionBackward``."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        how: tuple[Any, ...],
        known: tuple[Tensor, Tensor, Tensor] | None,
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.how = how
        # What parameters were computed from is differentiated by the values of the gradients in them.
        ctx.computed = not weight.is_leaf, bias is not None and not bias.is_leaf
        if known is None:
            return _convolve(inputs, weight, bias, how)
        output, scale, shift = known
        return torch.addcmul(_along_channels(shift, output), output, _along_channels(scale, output))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        to_inputs, _, to_bias, *_ = ctx.needs_input_grad
        # A gradient that is expanded from a mean has strides that the kernels would copy again and again.
        gradient = gradient.contiguous(memory_format=_format_of(inputs))
        if torch.is_grad_enabled():
            wanted = (to_inputs, *ctx.computed)
            of_inputs, of_weight, of_bias = _ConvolutionBackward.apply(gradient, inputs, weight, ctx.how, wanted)
        else:
            of_inputs, of_weight, of_bias = _pull_back(gradient, inputs, weight, ctx.how, (to_inputs, True, to_bias))
        return of_inputs, of_weight, of_bias if to_bias else None, None, None


class _ConvolutionBackward(torch.autograd.Function):
    """The gradients of a convolution in inputs, weight and bias; bilinear in the gradient and in the first two.

    A product with the Hessian needs the graph of the gradients in parameters but not their values, which are left out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        inputs: Tensor,
        weight: Tensor,
        how: tuple[Any, ...],
        wanted: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(gradient, inputs, weight)
        ctx.how = how
        ctx.set_materialize_grads(False)
        of_inputs, of_weight, of_bias = _pull_back(gradient, inputs, weight, how, wanted)
        of_weight = _placeholder(weight, weight.shape) if of_weight is None else of_weight
        of_bias = _placeholder(weight, weight.shape[:1]) if of_bias is None else of_bias
        return of_inputs, of_weight, of_bias

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_inputs: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gradient, inputs, weight = ctx.saved_tensors
        how = ctx.how
        forward = None
        if of_weight is not None:
            of_weight = of_weight.contiguous(memory_format=_format_of(inputs))
            forward = _convolve(inputs, of_weight, of_bias, how)
        elif of_bias is not None:
            forward = _along_channels(of_bias, gradient).expand_as(gradient)
        if of_inputs is not None:
            part = _convolve(of_inputs, weight, None, how)
            forward = part if forward is None else part.add_(forward)
        # One backward call gives both: the gradient in the inputs with one cotangent in the place of the weight, and
        # that in the weight with the other in the place of the inputs.
        to_inputs, to_weight, _ = _pull_back(
            gradient,
            inputs if of_inputs is None else of_inputs,
            weight if of_weight is None else of_weight,
            how,
            (of_weight is not None and _asked_for(ctx, 1), of_inputs is not None and _asked_for(ctx, 2), False),
        )
        return forward, to_inputs, to_weight, None, None


def _asked_for(ctx: Any, index: int) -> bool:
    """Tell whether the derivative that is under way leads through an input, and not only whether one could."""
    node, _ = ctx.next_functions[index]
    if node is None:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf that is differentiated for
        return True


def _convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
    stride, padding, dilation, groups = how
    return _convolution(inputs, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _pull_back(
    gradient: Tensor, inputs: Tensor, weight: Tensor, how: tuple[Any, ...], wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    if not any(wanted):
        return None, None, None
    stride, padding, dilation, groups = how
    none = [0] * len(stride)
    sizes = [weight.shape[0]]
    return _convolution_backward(
        gradient, inputs, weight, sizes, stride, padding, dilation, False, none, groups, list(wanted)
    )


def _placeholder(like: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor of a shape, of no size in memory and no meaning."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand(shape)


def _format_of(tensor: Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _along_channels(vector: Tensor, like: Tensor) -> Tensor:
    return vector.view(1, -1, *(1,) * (like.ndim - 2))


def _batch_norm(
    convolved: _Convolved | None,
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
    if convolved is not None and convolved.made(input):
        return convolved.scaled(scale, shift)
    if any(p is not None and not p.is_leaf for p in (weight, bias)):
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return _Affine.apply(input, _along_channels(scale, input), _along_channels(shift, input))


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
        return gradient * scale, _placeholder(scale, scale.shape), _placeholder(scale, scale.shape)

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
        to_inputs = gradient * of_scale if of_scale is not None and _asked_for(ctx, 1) else None
        to_scale = _by_channel(of_inputs * gradient, scale) if of_inputs is not None and _asked_for(ctx, 2) else None
        return forward.expand_as(gradient), to_inputs, to_scale


def _by_channel(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.sum(dim=(0, *range(2, tensor.ndim)), keepdim=True).view(like.shape)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    # Views that are written to have rules of their own.
    return torch.relu_(input) if inplace and input._is_view() else _Relu.apply(input, inplace)


class _Relu(torch.autograd.Function):
    """max(x, 0), whose backward pass is linear in its gradient and has no second derivative in x."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, inplace: bool) -> Tensor:
        outputs = inputs.clamp_min_(0) if inplace else inputs.clamp_min(0)
        if inplace:
            ctx.mark_dirty(inputs)
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (outputs,) = ctx.saved_tensors
        return _ReluBackward.apply(gradient, outputs), None


class _ReluBackward(torch.autograd.Function):
    """The gradient of ``_Relu``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, outputs: Tensor) -> Tensor:
        ctx.save_for_backward(outputs)
        return _threshold_backward(gradient, outputs, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        (outputs,) = ctx.saved_tensors
        return _threshold_backward(cotangent, outputs, 0), None
