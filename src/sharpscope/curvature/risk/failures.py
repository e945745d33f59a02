"""What a model raises while it is called, told in one sentence."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sharpscope.curvature.risk.network import Caller
from sharpscope.curvature.risk.raw_data import told
from sharpscope.errors import SharpscopeError

_NO_GRADIENT = "does not require grad"


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Raise what comes from within a call of the model as an error for users; the first error stays its cause.

    Raises:
        SharpscopeError: If the model failed on its inputs, or gave outputs that nothing can be derived from.
    """
    try:
        yield
    except (SharpscopeError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if _NO_GRADIENT in str(error):
            raise SharpscopeError(
                "the model's outputs have no derivatives in its parameters (detach, no_grad, an argmax or NumPy in its "
                "forward?); measure a model that is differentiable"
            ) from error
        inputs = _inputs_of_failed_call(error)
        if inputs is None:
            raise
        raise SharpscopeError(
            f"the model fails on its inputs, {_described(inputs[0])} ({told(error)}); bring them into the form "
            "that it takes, or pass forward=..., a function (model, inputs) -> outputs"
        ) from error


def _inputs_of_failed_call(error: Exception) -> tuple[Any] | None:
    """Return the inputs of the call of the model that an error comes from; None if it comes from elsewhere."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is Caller.forward.__code__:
            return (frame.f_locals["inputs"],)
    return None


def _described(inputs: Any) -> str:
    """Return the kinds and shapes of the inputs of a batch, as a part of a sentence."""
    if isinstance(inputs, Tensor):
        return f"{str(inputs.dtype).removeprefix('torch.')} {tuple(inputs.shape)}"
    if isinstance(inputs, Mapping):
        return ", ".join(f"{key}: {_described(value)}" for key, value in inputs.items()) or "none"
    if isinstance(inputs, tuple | list):
        return ", ".join(map(_described, inputs[:4])) + (f" and {len(inputs) - 4} more" if len(inputs) > 4 else "")
    return type(inputs).__name__
