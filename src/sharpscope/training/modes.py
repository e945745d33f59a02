"""States that a model is put into for a block and taken out of however the block ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sharpscope.curvature.risk.layout import laid_out, may_have_channels_last
from sharpscope.curvature.risk.network import device_of


@contextmanager
def mode(model: nn.Module, *, train: bool) -> Iterator[None]:
    """Put a model in train or eval mode for a block; each module gets its own mode back."""
    before = [(module, module.training) for module in model.modules()]
    model.train(train)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers below the smallest normal one for zero for a block, on the CPU and in this thread.

    The momentum of a unit that has no gradient any more decays through them, and arithmetic with them is many times
    slower.
    """
    before = bool(torch.full((1,), torch.finfo(torch.float32).tiny).div(2) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Lay the weights of 2-D convolutions out with the channels last for a block; as they were after it.

    Convolutions on the CPU run about a quarter faster so. The layout changes no values, but a file of weights
    wants them contiguous. A model whose gradients might come out wrong so has its channels first.
    """
    last = may_have_channels_last(model, device_of(model))
    wanted = torch.channels_last if last else torch.contiguous_format
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    strides = [weight.stride() for weight in weights]
    try:
        # Not .contiguous(), which leaves the strides of a single input channel as they are; the output of the
        # first layer, and of all that follow, would then have the channels first.
        for weight in weights:
            weight.data = laid_out(weight.data, wanted)
        yield
    finally:
        for weight, stride in zip(weights, strides, strict=True):
            if weight.stride() != stride:
                weight.data = torch.empty_strided(weight.shape, stride, dtype=weight.dtype, device=weight.device).copy_(
                    weight.data
                )
