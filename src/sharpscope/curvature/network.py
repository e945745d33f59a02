"""The network that is measured: what lies behind a model, and how it is called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parallel import DataParallel, DistributedDataParallel

from sharpscope.errors import SharpscopeError

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


def convolves(model: nn.Module) -> bool:
    """Tell whether a model is made of convolutions, and of nothing whose derivatives want its channels first."""
    modules = list(model.modules())
    channels_first = any(isinstance(module, nn.GroupNorm | _InstanceNorm) for module in modules)
    return any(isinstance(module, nn.Conv2d) for module in modules) and not channels_first


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
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(getattr(outputs, "logits", None), Tensor):
        return outputs.logits
    if isinstance(outputs, Mapping) and isinstance(outputs.get("logits"), Tensor):
        return outputs["logits"]
    if isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise SharpscopeError(
        "the model must return a tensor, something with .logits, or a tuple that begins with a tensor, "
        f"got {type(outputs).__name__}; a forward=... function can unpack it"
    )


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a block, with gradients of embeddings that are dense and the loss's own."""
    before = [
        (module, name, getattr(module, name))
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for name in ("sparse", "scale_grad_by_freq")
    ]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for embedding, name, _ in before:
            setattr(embedding, name, False)
        yield
    finally:
        for embedding, name, value in before:
            setattr(embedding, name, value)
        for module, mode in modes:
            module.training = mode
