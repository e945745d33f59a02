"""Build a model whose initialization is drawn from a named stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sharpscope.models.registry import MODELS
from sharpscope.seeding import Stream


def build(name: str, shape: tuple[int, ...], classes: int, stream: Stream, /, **options: Any) -> nn.Module:
    """Return a model, initialized from ``stream`` and from nothing else.

    PyTorch's initializers draw from the global generator; here it is seeded for the length of the call and
    then put back. Weights are drawn on the CPU, whatever device is the default, so every device starts at the
    same point.

    Args:
        name: A name in ``MODELS``.
        shape: The shape of one sample: ``(C, H, W)`` or ``(D,)``.
        classes: The number of outputs.
        stream: Where the initial weights come from.
        **options: Options of the model.

    Returns:
        The model on the CPU, in train mode, as PyTorch makes it.

    Raises:
        UnknownName: If no model has this name.
        SpecError: If an option is unknown or unfit, or the model cannot take this shape.
    """
    entry = MODELS[name]
    complete = entry.complete(options)
    with stream.governing(), torch.device("cpu"):
        model: nn.Module = entry(tuple(shape), classes, **complete)
    return model


def build_untrained(name: str, shape: tuple[int, ...], classes: int, stream: Stream, /, **options: Any) -> nn.Module:
    """Return a model as ``build`` does, but never with pretrained weights: nothing is downloaded just to try it."""
    from_scratch = {option: value for option, value in options.items() if option != "pretrained"}
    return build(name, shape, classes, stream, **from_scratch)
