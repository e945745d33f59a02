"""What users bring as data, taken apart into inputs and targets, or refused in plain words."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from sharpscope.errors import SharpscopeError

_LABELS = ("labels", "label")


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Return an option that is a whole number.

    Raises:
        SharpscopeError: If it is none, or below ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_ | Tensor):
        raise SharpscopeError(f"{name} must be a whole number, got {value!r}")
    if least is not None and number < least:
        raise SharpscopeError(f"{name} must be at least {least}, got {number}")
    return number


def as_pair(data: Any) -> tuple[Tensor, Tensor] | None:
    """Return inputs and targets if data is a pair of tensors, arrays or lists of numbers that hold all samples.

    A list of two tensors is such a pair, too: it cannot be two batches, which are pairs themselves. Nor can a tensor
    and a list of numbers.

    Raises:
        SharpscopeError: If the two do not fit each other.
    """
    if not (isinstance(data, tuple | list) and len(data) == 2):
        return None
    inputs, targets = (_as_numbers(name, part) for name, part in zip(("inputs", "targets"), data, strict=True))
    if inputs is None or targets is None:
        return None
    # Lists of as many dimensions may be two batches, or two samples.
    if not any(map(_is_array, data)) and (inputs.ndim < 2 or targets.ndim >= inputs.ndim):
        return None
    for name, part in (("inputs", inputs), ("targets", targets)):
        if part.is_nested or part.layout != torch.strided or part.is_meta:
            kind = "a nested" if part.is_nested else "a meta" if part.is_meta else "a sparse"
            raise SharpscopeError(f"{name} must be a dense tensor with one row a sample, got {kind} tensor")
    sizes = [part.shape[0] if part.ndim else 1 for part in (inputs, targets)]
    if sizes[0] != sizes[1]:
        raise SharpscopeError(f"inputs and targets must be equally many, got {sizes[0]} and {sizes[1]}")
    return inputs, targets


def is_whole(data: Any) -> bool:
    """Tell whether data is one pair of several inputs and their targets, and not two batches."""
    if not (isinstance(data, tuple | list) and len(data) == 2):
        return False
    targets = _as_numbers("targets", data[1])
    # A list of numbers is no batch, which has two parts of a dimension or more.
    if targets is None or (targets.ndim != 1 and not _is_array(data[1])):
        return False
    return isinstance(data[0], Mapping) or (isinstance(data[0], tuple | list) and all(map(_is_array, data[0])))


def refuse_again(iterator: Iterator[Any], latest: Iterator[Any] | None) -> None:
    """Refuse data that have the same iterator for several passes, of which all but the first would miss samples.

    Raises:
        SharpscopeError: If the iterator of a pass is that of the pass before.
    """
    if iterator is latest:
        raise SharpscopeError(
            "data must be re-iterable, since several passes over them are needed; "
            f"got a one-time {type(iterator).__name__}: pass a list, a DataLoader or a Dataset"
        )


def inputs_and_targets(raw: Any) -> tuple[Any, Tensor]:
    """Return the inputs and the targets of a batch: ``(inputs, targets)``, or a mapping with ``labels``.

    Raises:
        SharpscopeError: If it is neither.
    """
    if isinstance(raw, Mapping):
        key = next((key for key in _LABELS if key in raw), None)
        if key is None:
            raise SharpscopeError(
                f"a batch that is a mapping must have 'labels', got {sorted(map(str, raw))}; rename what holds the "
                "targets"
            )
        inputs: Any = {k: _tensors(v) for k, v in raw.items() if k != key}
        targets = _targets(raw[key])
    elif isinstance(raw, list | tuple) and len(raw) == 2:
        inputs, targets = _tensors(raw[0]), _targets(raw[1])
    else:
        raise SharpscopeError(
            "a batch must be (inputs, targets) or a mapping with 'labels', "
            f"got {type(raw).__name__}{f' of {len(raw)}' if isinstance(raw, list | tuple) else ''}"
        )
    if targets.ndim == 0:
        raise SharpscopeError(
            "a batch must hold targets of several samples, got a single one; pass a DataLoader over these samples"
        )
    return inputs, targets


def sample_of(dataset: Dataset[Any], index: int) -> Any:
    """Return a sample of a dataset, with tensors in the place of lists of numbers.

    Raises:
        SharpscopeError: If the dataset fails.
    """
    try:
        sample = dataset[index]
    except (SharpscopeError, OSError, MemoryError):
        raise
    except Exception as error:
        raise SharpscopeError(f"the dataset {type(dataset).__name__} fails at sample {index}: {told(error)}") from error
    if isinstance(sample, Mapping):
        return {key: _tensors(value) for key, value in sample.items()}
    if isinstance(sample, list | tuple) and len(sample) == 2:
        return tuple(map(_tensors, sample))
    return sample


def collated(dataset: Dataset[Any], indices: Iterable[int]) -> Any:
    """Return samples of a dataset as one batch.

    Raises:
        SharpscopeError: If they cannot be put together.
    """
    samples = [sample_of(dataset, index) for index in indices]
    try:
        return default_collate(samples)
    except (TypeError, RuntimeError, ValueError, KeyError) as error:
        raise SharpscopeError(
            f"samples of the dataset {type(dataset).__name__} cannot be put into one batch ({told(error)}); return "
            "tensors or numbers of equal shapes, or pass a DataLoader with a collate_fn of your own"
        ) from error


def told(error: BaseException) -> str:
    """Return what an error of someone else's code says, as a part of a sentence."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}..."


def _targets(value: Any) -> Tensor:
    if isinstance(value, Tensor | np.ndarray):
        return _array("targets", value)
    numbers = _numbers(value) if isinstance(value, list | tuple) else None
    if numbers is not None:
        return numbers
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    shown = type(value[0]).__name__ if isinstance(value, Sequence) and len(value) else type(value).__name__
    raise SharpscopeError(f"targets must be numbers, one or a row of them a sample, got {shown}; number the classes")


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _as_numbers(name: str, value: Any) -> Tensor | None:
    """Return a tensor, an array or lists of numbers as a tensor; None for anything else."""
    if _is_array(value):
        return _array(name, value)
    return _numbers(value) if isinstance(value, list | tuple) else None


def _tensors(inputs: Any) -> Any:
    """Return the inputs of a batch with tensors in the place of arrays and of lists of numbers."""
    if isinstance(inputs, np.ndarray):
        # Texts and objects are for a forward of the user's own.
        return _array("inputs", inputs) if inputs.dtype.kind in "biufc" else inputs
    if isinstance(inputs, Mapping):
        return {key: _tensors(value) for key, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        numbers = _numbers(inputs)
        if numbers is not None:
            return numbers
        mapped = [_tensors(value) if isinstance(value, np.ndarray | Mapping) else value for value in inputs]
        return type(inputs)(*mapped) if hasattr(inputs, "_fields") else type(inputs)(mapped)
    return inputs


def _numbers(value: list[Any] | tuple[Any, ...]) -> Tensor | None:
    """Return lists of plain numbers as a tensor of int64 or float64; None for anything else."""
    first: Any = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, bool | int | float | np.number):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None  # lists of different lengths
    return _array("inputs", array) if array.dtype.kind in "biuf" else None


def _array(name: str, value: Tensor | np.ndarray) -> Tensor:
    """Return a tensor, or an array as one; unsigned numbers of several bytes, which PyTorch hardly knows, as int64."""
    if isinstance(value, Tensor):
        return value
    if value.dtype.kind == "u" and value.dtype.itemsize > 1:
        value = value.astype(np.int64)
    try:
        if value.dtype.kind == "O":
            return torch.as_tensor(value.tolist())
        # PyTorch knows no negative strides and no other byte order, and warns of what it must not write to.
        fit = value.flags.writeable and value.flags.c_contiguous and value.dtype.isnative
        return torch.as_tensor(value if fit else np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SharpscopeError(
            f"{name} must be numbers, got an array of {value.dtype}; turn texts and objects into numbers first"
        ) from error
