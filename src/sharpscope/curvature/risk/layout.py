"""Whether the convolutions of a model come out right with their channels last in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

# oneDNN gathers what a strided 1x1 convolution looks at into a workspace, whose places it counts in vectors of 8 floats
# (AVX2) or 16 (AVX-512) though they have as many floats as there are channels: with fewer channels than that the weight
# gradient is made of what lies behind it, or the process ends (uxlfoundation/oneDNN, issue 6035). What PyTorch says
# of the processor counts only where it was not told what to say, since oneDNN goes by the processor.
_KNOWN = "ATEN_CPU_CAPABILITY" not in os.environ
VECTOR = 8 if _KNOWN and torch.backends.cpu.get_cpu_capability() == "AVX2" else 16


def goes_wrong(kernel: Sequence[int], stride: Sequence[int], channels: int, groups: int) -> bool:
    """Tell whether the gradient of a 2-D convolution may be wrong on a CPU with the channels last.

    Args:
        kernel: Its size.
        stride: In both directions.
        channels: Of the larger image: the inputs of a convolution, the outputs of a transposed one.
        groups: Into which the channels are divided.
    """
    strided_point = all(side == 1 for side in kernel) and any(step != 1 for step in stride)
    return strided_point and groups == 1 and channels < VECTOR


def fitting_layout(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the memory format in which a model comes out right and is fast; that which tensors have by default."""
    if not may_have_channels_last(model, device):
        return torch.contiguous_format
    # Convolutions on the CPU, and their derivatives above all, are up to twice as fast with the channels last.
    return torch.channels_last if device.type == "cpu" and convolves(model) else torch.preserve_format


def may_have_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Tell whether gradients come out right with the channels last, as far as the modules of a model show.

    A convolution that is no module of PyTorch does not show its stride; where the shape of a parameter lets it be one
    that goes wrong, it is taken for one.

    Args:
        model: The model.
        device: Where it computes; only CPUs are known for such a fault.
    """
    if device.type != "cpu":
        return True
    shown: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            channels = module.in_channels if isinstance(module, nn.Conv2d) else module.out_channels
            if goes_wrong(module.kernel_size, module.stride, channels, module.groups):
                return False
            shown.update(id(parameter) for parameter in module.parameters())
    return not any(
        parameter.ndim == 4 and parameter.shape[2:] == (1, 1) and min(parameter.shape[:2]) < VECTOR
        for parameter in model.parameters()
        if id(parameter) not in shown
    )


def laid_out(tensor: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Return an image or a kernel in a memory format, and other tensors as they are; values and shape are the same."""
    if tensor.ndim != 4:
        return tensor
    if memory_format is not torch.contiguous_format:
        return tensor.to(memory_format=memory_format)
    # With one channel or one place both formats are the same memory, but convolutions go by the strides.
    _, channels, height, width = tensor.shape
    first = tensor.stride() == (channels * height * width, height * width, width, 1)
    return tensor if first else tensor.clone(memory_format=torch.contiguous_format)


def convolves(model: nn.Module) -> bool:
    """Tell whether a model is made of convolutions, and of nothing whose derivatives want its channels first."""
    modules = list(model.modules())
    channels_first = any(isinstance(module, nn.GroupNorm | _InstanceNorm) for module in modules)
    return any(isinstance(module, nn.Conv2d) for module in modules) and not channels_first
