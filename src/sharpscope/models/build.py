"""Build a model whose initialization is drawn from a named stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sharpscope.errors import FAULTS, SharpscopeError, SpecError, one_line
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
        SpecError: If an option is unknown or unfit, the model cannot take this shape, or its function raises anything
            or returns no model.
    """
    with stream.governing(), torch.device("cpu"):
        return _made(name, shape, classes, options)


def build_weightless(name: str, shape: tuple[int, ...], classes: int, /, **options: Any) -> nn.Module:
    """Return a model as ``build`` does, but without memory for its weights, however large it is."""
    with torch.device("meta"):
        return _made(name, shape, classes, options)


def _made(name: str, shape: tuple[int, ...], classes: int, options: Mapping[str, Any]) -> nn.Module:
    entry = MODELS[name]
    complete = entry.complete(options)
    try:
        model = entry(tuple(shape), classes, **complete)
    except SharpscopeError:
        raise
    except FAULTS as error:
        reason = f"{one_line(error):.300}"
        raise SpecError(f"the model '{name}' cannot be made for inputs of shape {shape}: {reason}") from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"the model '{name}' should be a torch.nn.Module, and its function returns {model!r:.60}")
    return model


def build_untrained(name: str, shape: tuple[int, ...], classes: int, stream: Stream, /, **options: Any) -> nn.Module:
    """Return a model as ``build`` does, but never with pretrained weights: nothing is downloaded just to try it."""
    from_scratch = {option: value for option, value in options.items() if option != "pretrained"}
    return build(name, shape, classes, stream, **from_scratch)
