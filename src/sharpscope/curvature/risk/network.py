"""The network that is measured: what lies behind a model, and how it is called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DataParallel, DistributedDataParallel

from sharpscope.errors import NotDeterministic, SharpscopeError

Forward = Callable[[nn.Module, Any], Any]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside what distributes or compiles it: measuring needs neither, and must not communicate."""
    while True:
        if isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        elif isinstance(compiled := dict(model.named_children()).get("_orig_mod"), nn.Module):
            model = compiled
        else:
            return model


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter is; the CPU for a model without parameters.

    Raises:
        SharpscopeError: If it is no module.
    """
    if not isinstance(model, nn.Module):
        raise SharpscopeError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def refuse_unfit(model: nn.Module) -> None:
    """Refuse a model that has no real values to measure.

    Raises:
        SharpscopeError: If it has no parameters, or some that are not initialized, without memory, or no real numbers.
    """
    own = dict(model.named_parameters())
    if not own:
        raise SharpscopeError(
            f"the model {type(model).__name__} has no parameters (quantized, or frozen into constants?), so nothing "
            "can be measured; measure the model that it was made from"
        )
    for name, parameter in own.items():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise SharpscopeError(f"the parameter '{name}' is not initialized; run the model once first")
        if parameter.is_meta:
            raise SharpscopeError(f"the parameter '{name}' is on the meta device and has no values; load them first")
        if not parameter.is_floating_point():
            raise SharpscopeError(
                f"sharpness is defined for real floating-point parameters, and '{name}' has {parameter.dtype}; "
                "make it a buffer, or measure the model before it is quantized"
            )


def refuse_dependent(model: nn.Module) -> None:
    """Refuse a model in eval mode with modules that change their weights, or go by the statistics of each batch.

    Raises:
        NotDeterministic: If there is one.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise NotDeterministic(
                f"the embedding '{name}' rescales its weights while it is evaluated (max_norm), which would change "
                "the model; rescale them once and set max_norm to None to measure it"
            )
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise NotDeterministic(
                f"the BatchNorm '{name}' normalizes by the statistics of each batch in eval mode too, so each "
                "sample's loss depends on its batch; let eval() reach it, and track running statistics"
            )


class Caller(nn.Module):
    """The model together with the way it is called, so that ``functional_call`` can replace its parameters."""

    def __init__(self, model: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.training = model.training
        self.model = model
        self._forward = forward

    def forward(self, inputs: Any) -> Any:
        """Call the model on the inputs of a batch."""
        if self._forward is not None:
            return self._forward(self.model, inputs)
        if isinstance(inputs, Mapping):
            return self.model(**inputs)
        if isinstance(inputs, tuple | list):
            return self.model(*inputs)
        return self.model(inputs)


def as_tensor(outputs: Any) -> Tensor:
    """Return the logits of whatever a model returns: a tensor, ``.logits``, ``["logits"]`` or the first of several."""
    if isinstance(getattr(outputs, "logits", None), Tensor):
        outputs = outputs.logits
    elif isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        outputs = outputs["logits"]
    elif isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        outputs = outputs[0]
    if not isinstance(outputs, Tensor):
        raise SharpscopeError(
            "the model must return a tensor, something with .logits, or a tuple that begins with a tensor, "
            f"got {type(outputs).__name__}; a forward=... function can unpack it"
        )
    if not outputs.is_floating_point():
        raise SharpscopeError(
            f"the model's outputs must be real floating-point numbers, got {outputs.dtype} (predictions instead of "
            "logits?); a forward=... function can return what they are made of"
        )
    return outputs


def as_matrix(outputs: Tensor, size: int) -> Tensor:
    """Return the outputs of ``size`` samples as ``[B, C]``.

    Raises:
        SharpscopeError: If they are not a matrix with one row a sample.
    """
    if outputs.shape == (size,) or (outputs.ndim == 0 and size == 1):
        # One output a sample; that of a single sample may be squeezed to a number.
        outputs = outputs.reshape(-1, 1)
    if outputs.ndim != 2 or outputs.shape[0] != size:
        raise SharpscopeError(
            f"the model's outputs must have shape (samples, outputs) = ({size}, C), "
            f"got {tuple(outputs.shape)}; a forward=... function can bring them into this form"
        )
    return outputs


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Keep transformer layers from PyTorch's fast path for a block.

    They take it in eval mode without gradients only, and it returns other numbers where positions are masked: zeros,
    for which training never stood. One function then serves losses, gradients and predictions.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
