"""Any data that a user brings, as batches of (inputs, targets) in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.seeding import Stream

DEFAULT_BATCH_SIZE = 256


@dataclass(frozen=True)
class Batch:
    """Some samples on the device of the risk.

    Attributes:
        inputs: What the model is called with: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        targets: First dimension B.
    """

    inputs: Any
    targets: Tensor

    @property
    def size(self) -> int:
        """The number of samples B."""
        return self.targets.shape[0]

    def take(self, index: slice | Tensor) -> Batch:
        """Return a part of the samples."""
        return Batch(_map(self.inputs, lambda t: t[index] if _has_rows(t, self.size) else t), self.targets[index])

    def to(self, device: torch.device, dtype: torch.dtype | None) -> Batch:
        """Move to a device; floating-point inputs also to ``dtype`` if that is not None."""

        def move(t: Tensor) -> Tensor:
            return t.to(device, dtype if t.is_floating_point() else None)

        return Batch(_map(self.inputs, move), self.targets.to(device))


class Batches:
    """Re-iterable batches; every pass yields the same samples.

    Args:
        data: A re-iterable of batches, a map-style ``Dataset``, or a pair of tensors (inputs, targets).
        batch_size: Samples a batch where ``data`` has no batches of its own; larger batches are split to it.
        subset: At most this many samples, drawn without replacement.
        stream: Where the subset is drawn from.
    """

    def __init__(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        subset: int | None = None,
        stream: Stream | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("subset", subset)):
            if value is not None and value < 1:
                raise SharpscopeError(f"{name} must be at least 1, got {value}")
        self._limit = batch_size
        self.population: int | None = None
        if isinstance(data, tuple) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
            if len(data[0]) != len(data[1]):
                raise SharpscopeError(f"inputs and targets must be equally many, got {len(data[0])} and {len(data[1])}")
            data = TensorDataset(*data)
        self._refuse_unfit(data)
        stream = stream or Stream(0, "subset")
        if isinstance(data, Dataset):
            if subset is not None:
                self.population = len(data)  # type: ignore[arg-type]
                data = _subset(data, subset, stream)
            data = _DatasetBatches(data, batch_size or DEFAULT_BATCH_SIZE)
        self._data = data
        if subset is not None and self.population is None:
            self._draw(subset, stream)

    def __iter__(self) -> Iterator[Batch]:
        for raw in self._data:
            batch = as_batch(raw)
            step = self._limit or batch.size
            if batch.size <= step:
                yield batch
            else:
                yield from (batch.take(slice(i, i + step)) for i in range(0, batch.size, step))

    def _draw(self, subset: int, stream: Stream) -> None:
        """Keep a uniform subset in memory, by reservoir sampling, so that a shuffled loader serves as well."""
        generator = stream.numpy()
        kept: list[tuple[float, int, Batch]] = []
        seen = 0
        for batch in self:
            keys = generator.random(batch.size)
            last = kept[-1][0] if len(kept) == subset else 1.0
            # Indexing with a tensor copies, so that a kept sample does not hold its whole batch in memory.
            rows = [int(i) for i in (keys < last).nonzero()[0]]
            kept += [(keys[i], seen + i, batch.take(torch.tensor([i]))) for i in rows]
            kept = sorted(kept, key=lambda item: item[:2])[:subset]
            seen += batch.size
        self.population = seen
        singles = [batch for _, _, batch in sorted(kept, key=lambda item: item[1])]
        size = self._limit or DEFAULT_BATCH_SIZE
        self._data = [_join(singles[i : i + size]) for i in range(0, len(singles), size)]

    @staticmethod
    def _refuse_unfit(data: Any) -> None:
        if isinstance(data, Iterator):
            raise SharpscopeError(
                "data must be re-iterable, since some measures need several passes; "
                f"got a one-time {type(data).__name__}: pass a list, a DataLoader or a Dataset"
            )
        if not isinstance(data, Iterable | Dataset):
            raise SharpscopeError(
                "data must be batches of (inputs, targets), or mappings with 'labels', or a Dataset, "
                f"got {type(data).__name__}"
            )
        dataset = data.dataset if isinstance(data, DataLoader) else data
        indexed = isinstance(dataset, Dataset) and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if indexed and len(dataset) and not _equal(dataset[0], dataset[0]):
            raise NotDeterministic(
                "the dataset returns another sample 0 the second time, so it is augmented at random; "
                "measure on clean data, without random transforms"
            )


class _DatasetBatches:
    """A map-style dataset in its own order, cut into batches."""

    def __init__(self, dataset: Dataset[Any], batch_size: int) -> None:
        self._dataset = dataset
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._dataset, TensorDataset):
            yield from zip(*(t.split(self._batch_size) for t in self._dataset.tensors), strict=True)
            return
        size = len(self._dataset)  # type: ignore[arg-type]
        for start in range(0, size, self._batch_size):
            stop = min(start + self._batch_size, size)
            yield default_collate([self._dataset[i] for i in range(start, stop)])


def _subset(dataset: Dataset[Any], size: int, stream: Stream) -> Dataset[Any]:
    total = len(dataset)  # type: ignore[arg-type]
    chosen = sorted(stream.numpy().permutation(total)[:size].tolist())
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(t[chosen] for t in dataset.tensors))
    return Subset(dataset, chosen)


def as_batch(raw: Any) -> Batch:
    """Return ``(inputs, targets)`` or a mapping with ``labels`` as a batch.

    Raises:
        SharpscopeError: If it is neither.
    """
    if isinstance(raw, Batch):
        return raw
    if isinstance(raw, Mapping):
        if "labels" not in raw:
            raise SharpscopeError(f"a batch that is a mapping must have 'labels', got {sorted(map(str, raw))}")
        return Batch({k: v for k, v in raw.items() if k != "labels"}, torch.as_tensor(raw["labels"]))
    if isinstance(raw, list | tuple) and len(raw) == 2:
        return Batch(raw[0], torch.as_tensor(raw[1]))
    raise SharpscopeError(
        "a batch must be (inputs, targets) or a mapping with 'labels', "
        f"got {type(raw).__name__}{f' of {len(raw)}' if isinstance(raw, list | tuple) else ''}"
    )


def _join(batches: list[Batch]) -> Batch:
    leaves = [_tensors(b.inputs) for b in batches]
    columns = iter([torch.cat(column) if column[0].ndim else column[0] for column in zip(*leaves, strict=True)])
    return Batch(_map(batches[0].inputs, lambda _: next(columns)), torch.cat([b.targets for b in batches]))


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(tree, lambda t: (found.append(t), t)[1])
    return found


def _map(tree: Any, function: Any) -> Any:
    """Apply a function to every tensor of nested tuples, lists and mappings."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {k: _map(v, function) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_map(v, function) for v in tree)
    return tree


def _has_rows(tensor: Tensor, rows: int) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] == rows


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
    if isinstance(a, Mapping):
        return all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return all(map(_equal, a, b))
    same = a == b
    return bool(same if isinstance(same, bool) else getattr(same, "all", lambda: True)())
