"""The forms in which a loss of the user's own may want to be called: shape and precision of what it gets and holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Form:
    """How a loss is called.

    Attributes:
        dtype: That of the targets; None for the outputs'.
        squeezed: Whether one output a sample is passed as ``[B]`` and not as ``[B, 1]``.
        fitting: Whether what the loss holds is brought to the precision and the device of the outputs.
    """

    dtype: torch.dtype | None
    squeezed: bool
    fitting: bool

    def arguments(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the arguments of the loss."""
        return outputs.squeeze(1) if self.squeezed else outputs, targets.to(self.dtype or outputs.dtype)

    def calling(self, outputs: Tensor) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which it is called."""
        return _Fitting(outputs) if self.fitting else contextlib.nullcontext()


def forms_of(outputs: Tensor, targets: Tensor) -> Iterator[Form]:
    """Yield the forms that may be meant, the usual ones first."""
    if targets.is_floating_point() or targets.is_complex():
        dtypes: list[torch.dtype | None] = [None]
    else:
        dtypes = [torch.bool, torch.long, None] if targets.dtype == torch.bool else [torch.long, None]
    alone = outputs.shape[1] == 1 and targets.ndim == 1
    for fitting in (False, True):
        for squeezed in (False, True) if alone else (False,):
            for dtype in dtypes:
                yield Form(dtype, squeezed, fitting)


class _Fitting(TorchFunctionMode):
    """Brings real tensors that meet outputs to their precision and device, as class weights in float32.

    Args:
        outputs: What they are brought to.
    """

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self._dtype, self._device = outputs.dtype, outputs.device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function on tensors that fit; one that writes into a tensor needs that tensor itself."""
        name = getattr(func, "__name__", "")
        writes = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or name == "__setitem__"
        if not writes:
            args, kwargs = tree_map(self._fit, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _fit(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(self._device, self._dtype if value.is_floating_point() else None)
