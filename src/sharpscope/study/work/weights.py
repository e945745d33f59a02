"""Reading weights that were saved elsewhere into a model; nothing but tensors is ever unpickled."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sharpscope.errors import SharpscopeError

# Where training scripts put the weights among other things, the usual names first.
_NESTED = ("state_dict", "model_state_dict", "model")
# What data parallelism, torch.compile and Lightning put before the names of parameters.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 3


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Load a file of weights into a model.

    A state dict may lie within others, under "state_dict", "model_state_dict" or "model"; where all its keys begin with
    "module.", "_orig_mod." or "model.", alone or after each other, and do not fit the model so, these are taken off.

    Args:
        model: Gets the weights.
        path: A safetensors file, or what ``torch.save`` made of a state dict.
        name: What to call the model in an error.

    Raises:
        SharpscopeError: If the file cannot be read, or its weights do not fit the model.
    """
    state = _innermost(_read(path), path)
    wanted = model.state_dict()
    candidates = [_completed(found, wanted) for found in _without_prefixes(state)]
    fits = [_misfits(found, wanted) for found in candidates]
    # The first fits, or comes nearest to it.
    best = min(range(len(fits)), key=lambda k: sum(map(len, fits[k].values())))
    misfits = {kind: keys for kind, keys in fits[best].items() if keys}
    if misfits:
        shown = "; ".join(f"{kind} {_some(keys)}" for kind, keys in misfits.items())
        raise SharpscopeError(f"the weights in {path} do not fit {name}: {shown}")
    try:
        model.load_state_dict(candidates[best])
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise SharpscopeError(f"the weights in {path} do not fit {name}: {_shortened(error)}") from error


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SharpscopeError(f"there is no file of weights {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise SharpscopeError(f"{path} is not a safetensors file: {error}") from None
    except pickle.UnpicklingError as error:
        kind = re.search(r"GLOBAL (\S+)", str(error))
        if kind is None:
            raise _unreadable(path, error) from None
        raise SharpscopeError(
            f"{path} cannot be read as weights, since it holds a {kind[1]}, and nothing but tensors is unpickled, as "
            "more could run code of others; save the state dict alone with torch.save or safetensors"
        ) from None
    except Exception as error:  # noqa: BLE001 - torch.load raises whatever its readers do
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> SharpscopeError:
    size = path.stat().st_size
    # What follows the first sentence is advice on how to let the file run code.
    reason = _shortened(error).split(". ")[0]
    came = f"a file of {size:,} bytes that is neither ({reason})" if size else "an empty file"
    return SharpscopeError(
        f"{path} cannot be read as weights: expected a state dict saved by torch.save, or by safetensors under a name "
        f"that ends in .safetensors, got {came}"
    )


def _innermost(loaded: Any, path: Path) -> Mapping[str, Any]:
    """Return the state dict within what a training script has saved."""
    if not isinstance(loaded, Mapping):
        raise SharpscopeError(f"{path} must hold a state dict, got a {type(loaded).__name__}")
    while nested := next((loaded[key] for key in _NESTED if isinstance(loaded.get(key), Mapping)), None):
        loaded = nested
    if not any(isinstance(value, Tensor) for value in loaded.values()):
        keys = _some([repr(key) for key in loaded]) if loaded else "nothing"
        raise SharpscopeError(f"{path} must hold a state dict, alone or under 'state_dict' or 'model', got {keys}")
    return loaded


def _without_prefixes(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a state dict as it is, and without each prefix that all its keys share, one after the other."""
    yield state
    while prefix := next((p for p in _PREFIXES if all(str(key).startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        yield state


def _completed(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict with all names of tied parameters, of which some files hold one."""
    own = {_memory(value): key for key, value in wanted.items() if key in state and _memory(value)}
    tied = {
        key: state[own[_memory(value)]] for key, value in wanted.items() if key not in state and _memory(value) in own
    }
    return {**state, **tied}


def _memory(value: Any) -> tuple[int, ...]:
    """Return what says that two tensors are one; nothing for what has no memory."""
    if not isinstance(value, Tensor) or not value.numel() or value.is_meta:
        return ()
    return (value.data_ptr(), *value.shape)


def _misfits(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the keys that do not fit, by what is wrong with them."""
    misshapen = [
        f"'{key}' {_shape(state[key])} instead of {_shape(value)}"
        for key, value in wanted.items()
        if key in state and isinstance(value, Tensor) and _shape(state[key]) != _shape(value)
    ]
    return {
        "missing": [f"'{key}'" for key in wanted if key not in state],
        "unexpected": [f"'{key}'" for key in state if key not in wanted],
        "of another shape": misshapen,
    }


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _some(items: list[str]) -> str:
    rest = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + rest


def _shortened(error: Exception, length: int = 200) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= length else f"{text[:length]}..."
