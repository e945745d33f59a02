"""Where a model is evaluated: values of its parameters and buffers, in one precision and one layout in memory."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.layout import fitting_layout, laid_out

Parameters = dict[str, Tensor]
_HALF = (torch.float16, torch.bfloat16)


class Point:
    """The values that a model is called with in the place of its own, which are never written.

    Args:
        model: Whose parameters and buffers these are.
        device: Where to compute.

    Attributes:
        parameters: By name.
        buffers: By name.
        dtype: What a model was converted to that is not measured in its own precision; None for all others.
        input_dtype: The precision of floating-point inputs; None for their own.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        own = dict(model.named_parameters())
        # Half precision has too few digits for differences of losses; such a model is measured in float32.
        self.dtype = torch.float32 if any(p.dtype in _HALF for p in own.values()) else None
        # Inputs in float64 come from NumPy and not from any thought; a model takes its own precision only.
        dtypes = {p.dtype for p in own.values()}
        self.input_dtype = self.dtype or (dtypes.pop() if len(dtypes) == 1 else None)
        self._device = device
        self._layout = fitting_layout(model, device)
        with torch.inference_mode(False):
            self.parameters: Parameters = {name: self._detached(p) for name, p in own.items()}
            self.buffers = {name: self._detached(b).clone() for name, b in model.named_buffers()}

    def _detached(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        tensor = (tensor.clone() if tensor.is_inference() else tensor).detach()
        return self.laid_out(tensor.to(self._device, dtype))

    def at(self, parameters: Parameters) -> Point:
        """Return the point with other parameters."""
        other = copy.copy(self)
        other.parameters = parameters
        return other

    def in_double(self) -> Point:
        """Return the point in float64."""
        other = self.at({name: p.double() for name, p in self.parameters.items()})
        other.dtype = other.input_dtype = torch.float64
        other.buffers = {name: b.double() if b.is_floating_point() else b for name, b in self.buffers.items()}
        return other

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the memory format that is right and fast for this model; its values are the same."""
        return laid_out(tensor, self._layout)

    def lay_out_contiguous(self) -> None:
        """Go back to contiguous tensors."""
        self._layout = torch.contiguous_format
        self.parameters = {name: self.laid_out(p) for name, p in self.parameters.items()}

    def is_of_layout(self, error: BaseException) -> bool:
        """Tell whether an error says that the model cannot do without contiguous tensors: ``x.view(len(x), -1)``."""
        return self._layout is torch.channels_last and "view size is not compatible" in str(error)
