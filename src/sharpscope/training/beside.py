"""What a model keeps beside its weights, as the state of a training that was broken off has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class BesideWeights:
    """Buffers that are not stored with the weights, and the plain tensors and numbers of modules, such as counters.

    What a module keeps in lists, dictionaries or objects of its own is out of reach.

    Args:
        model: Whose modules have them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        """Return them by the names of the modules."""
        found = {name: _kept(module) for name, module in self._model.named_modules()}
        return {name: own for name, own in found.items() if own}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; what is as it was stays the object that it is."""
        modules = dict(self._model.named_modules())
        for module_name, own in state.items():
            module = modules[module_name]
            for name, value in own.items():
                owner: dict[str, Any] = module._buffers if name in module._buffers else module.__dict__
                _put(owner, name, value)


def _kept(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in _beside(module) if _is_storable(value)}


def _beside(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name in sorted(module._non_persistent_buffers_set):
        yield name, module._buffers[name]
    for name, value in vars(module).items():
        # The mode is seen to by the training.
        if name != "training":
            yield name, value


def _is_storable(value: Any) -> bool:
    if isinstance(value, Tensor):
        # Not an activation.
        return value.grad_fn is None and value.layout is torch.strided and not (value.is_complex() or value.is_meta)
    return isinstance(value, bool | int | float)


def _put(owner: dict[str, Any], name: str, value: Any) -> None:
    present = owner.get(name)
    if not isinstance(value, Tensor):
        if present != value:
            owner[name] = value
    elif not isinstance(present, Tensor):
        owner[name] = value
    elif present.shape == value.shape and present.dtype == value.dtype:
        if not torch.equal(present.cpu(), value):
            present.copy_(value)
    else:
        owner[name] = value.to(present.device)
