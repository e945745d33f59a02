"""The state of a training in one file: safetensors, with the rest as JSON in its header. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sharpscope.errors import SharpscopeError
from sharpscope.files import write_atomic
from sharpscope.store.seals import BrokenSeal, check_sealed, sealed_safetensors

_TENSOR = "tensor:"


class CheckpointError(SharpscopeError):
    """A checkpoint that is damaged, or is that of another training."""


class Resumable(Protocol):
    """Anything with a state that a training goes on from."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state: a tree of mappings and lists, with tensors and JSON values as leaves."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Go on from such a state."""


class Checkpoint:
    """A file that a training writes as it goes, and goes on from.

    Args:
        path: The file; None to keep nothing.
        identity: JSON values that differ between trainings that must not be confused.
        pause: Seconds that must pass between two writings, and before the first; what comes sooner is left out.
        **parts: All that has a state.
    """

    def __init__(
        self, path: Path | None, identity: Mapping[str, Any], *, pause: float = 0.0, **parts: Resumable
    ) -> None:
        self._path = path
        self._pause = pause
        self._written = time.monotonic()
        self._identity = json.loads(json.dumps(identity))
        self._parts = parts

    def write(self) -> None:
        """Write the file, whole or not at all."""
        if self._path is None or time.monotonic() - self._written < self._pause:
            return
        tree = {name: part.state_dict() for name, part in self._parts.items()}
        write_tree(self._path, {"identity": self._identity, "parts": tree})
        self._written = time.monotonic()

    def restore(self) -> None:
        """Bring all parts to where the file has them; nothing happens if there is none.

        Raises:
            CheckpointError: If the file is damaged, or belongs to another training.
        """
        if self._path is None or not self._path.exists():
            return
        tree = read_tree(self._path)
        found = tree["identity"]
        if found != self._identity:
            other = [key for key in {**found, **self._identity} if found.get(key) != self._identity.get(key)]
            raise CheckpointError(
                f"{self._path} is the checkpoint of another training: it differs in {', '.join(sorted(other))}; "
                "remove it, or name another file"
            )
        for name, part in self._parts.items():
            # A part of which an earlier version knew nothing is as it begins.
            if name in tree["parts"]:
                part.load_state_dict(tree["parts"][name])


class RandomState:
    """The global random state, as dropout and its like draw from it.

    Args:
        device: Whose generator counts beside the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both generators."""
        state = {"cpu": torch.get_rng_state()}
        if self._device.type != "cpu":
            state["device"] = torch.get_device_module(self._device).get_rng_state(self._device)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        torch.set_rng_state(state["cpu"])
        if self._device.type != "cpu":
            torch.get_device_module(self._device).set_rng_state(state["device"], self._device)


class OptimizerState:
    """The state of an optimizer, without its settings, which belong to the recipe.

    Args:
        optimizer: Of the training.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each parameter, by its number."""
        return {str(number): state for number, state in self._optimizer.state_dict()["state"].items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        weights = [weight for group in self._optimizer.param_groups for weight in group["params"]]
        laid_out = {
            int(number): {name: _laid_out_as(weights[int(number)], value) for name, value in part.items()}
            for number, part in state.items()
        }
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": laid_out})


def _laid_out_as(weight: Tensor, value: Any) -> Any:
    """Return a value with the strides of a weight of its shape: fused steps go through both as they lie in memory."""
    if isinstance(value, Tensor) and value.shape == weight.shape:
        return torch.empty_like(weight, dtype=value.dtype).copy_(value)
    return value


def weights_digest(model: nn.Module) -> str:
    """Return a checksum of all that a model's state dict holds."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def described(recipe: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values: functions by their names, with what is bound to them."""
    return {part.name: as_json(getattr(recipe, part.name), _name) for part in fields(recipe)}


def as_json(value: Any, name: Callable[[Any], Any]) -> Any:
    """Return a value of a recipe as JSON: functions as ``name`` tells them, with what is bound to them."""
    if isinstance(value, partial):
        return [as_json(part, name) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, Mapping):
        return {str(key): as_json(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, name) for item in value]
    if callable(value):
        return name(value)
    return value if isinstance(value, int | float | None) else str(value)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or getattr(function, "name", type(function).__qualname__))


def write_tree(path: Path, tree: Any) -> None:
    """Write a tree of mappings, lists, tensors and JSON values, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(tree, tensors)
    write_atomic(path, sealed_safetensors(save(tensors, metadata={"tree": json.dumps(plain)})))


def read_tree(path: Path) -> Any:
    """Return the tree in a file; tensors on the CPU.

    Raises:
        CheckpointError: If the file is damaged.
    """
    try:
        check_sealed(path.read_bytes())
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})["tree"])
            return _with_tensors(plain, file)
    except (BrokenSeal, OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole checkpoint ({error}); remove it to train from the start") from None


def _without_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        # A copy: the format allows no two tensors to share memory.
        tensors[name] = tree.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return f"{_TENSOR}{name}"
    if isinstance(tree, Mapping):
        return {key: _without_tensors(value, tensors) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [_without_tensors(value, tensors) for value in tree]
    return tree


def _with_tensors(plain: Any, file: Any) -> Any:
    if isinstance(plain, str) and plain.startswith(_TENSOR):
        return file.get_tensor(plain.removeprefix(_TENSOR))
    if isinstance(plain, dict):
        return {key: _with_tensors(value, file) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_with_tensors(value, file) for value in plain]
    return plain
