"""Half precision: the loss scale that keeps small gradients, and what happens when it was too large."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from sharpscope.training.steps import Pass, Vector

# The types that forward passes compute in; float32 is as the model is.
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

# As in torch.amp.GradScaler.
_INITIAL, _GROWTH, _BACKOFF, _INTERVAL = 2.0**16, 2.0, 0.5, 2000
# A loss of one that is multiplied by less is zero in half precision.
_LEAST = 2.0**-24


class Overflow(Exception):
    """A gradient of a scaled loss that is not finite: its step is not to be taken.

    Args:
        found: The pass that overflowed.
    """

    def __init__(self, found: Pass) -> None:
        super().__init__("the gradient of the scaled loss is not finite")
        self.found = found


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which forward passes compute in a precision."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def widened(tensor: Tensor) -> Tensor:
    """Return a tensor in single precision if it is in half; as it is otherwise."""
    return tensor.float() if tensor.dtype in {torch.bfloat16, torch.float16} else tensor


class LossScale:
    """The factor on the loss in fp16: halved at an overflow, doubled after many steps without one.

    The same rule as ``torch.amp.GradScaler``. That one allows one unscaling a step, which is why sharpness-aware steps
    climb by scaled gradients elsewhere; here every pass ends with the true gradient, whoever asks for it.

    Args:
        enabled: Whether there is anything to scale; else the factor is one, and stays so.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.factor = _INITIAL if enabled else 1.0
        self._good_steps = 0

    @torch.no_grad()
    def unscale(self, gradient: Vector) -> Tensor:
        """Divide a gradient by the factor in place; return whether it is finite, a scalar on its device."""
        torch._foreach_mul_(gradient, 1.0 / self.factor)
        return torch.stack(torch._foreach_norm(gradient, float("inf"))).isfinite().all()

    def after_step(self) -> None:
        """Take note of a step without an overflow."""
        self._good_steps += 1
        if self._good_steps == _INTERVAL:
            self.factor *= _GROWTH
            self._good_steps = 0

    def after_overflow(self) -> None:
        """Take note of an overflow."""
        self.factor *= _BACKOFF
        self._good_steps = 0

    @property
    def exhausted(self) -> bool:
        """Whether the factor is so small that a smaller one helps against no overflow."""
        return self.factor < _LEAST

    def none_taken(self, steps: int) -> bool:
        """Return whether each of so many steps, all of a training, has overflowed."""
        return self.enabled and self.factor == _INITIAL * _BACKOFF**steps

    def state_dict(self) -> dict[str, Any]:
        """Return factor and steps since it last changed."""
        return {"factor": self.factor, "good_steps": self._good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.factor, self._good_steps = state["factor"], state["good_steps"]
