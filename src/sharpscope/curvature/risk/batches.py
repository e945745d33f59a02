"""Any data that a user brings, as batches of (inputs, targets) in a fixed order."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from sharpscope.curvature.risk.raw_data import (
    as_pair,
    collated,
    inputs_and_targets,
    is_whole,
    refuse_again,
    sample_of,
    told,
    whole_number,
)
from sharpscope.curvature.risk.rows import join_rows, take_rows
from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.seeding import Stream

DEFAULT_BATCH_SIZE = 256
# Of narrow samples more, until they have so many numbers together.
_MOST_SAMPLES = 2048
_NUMBERS = 1 << 12
_LOOKED_AT = 8


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
        part = self.map(lambda t: take_rows(t, index) if self.has_rows(t) else t)
        return Batch(part.inputs, self.targets[index])

    def to(self, device: torch.device, dtype: torch.dtype | None) -> Batch:
        """Move to a device; floating-point inputs also to ``dtype`` if that is not None."""

        def move(tensor: Tensor) -> Tensor:
            # A tensor made in inference mode has no part in derivatives, a copy of it has.
            tensor = tensor.clone() if tensor.is_inference() else tensor
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        return Batch(self.map(move).inputs, self.targets.to(device))

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the same batch with a function applied to every tensor among its inputs."""
        return Batch(_map(self.inputs, function), self.targets)

    def has_rows(self, tensor: Tensor) -> bool:
        """Tell whether a tensor among the inputs has one row a sample."""
        return tensor.ndim > 0 and tensor.shape[0] == self.size


class Batches:
    """Re-iterable batches; every pass yields the same samples.

    Args:
        data: A re-iterable of batches, a map-style ``Dataset``, a pair of tensors, arrays or lists (inputs, targets), a
            pair (tuple of inputs, targets), or one mapping with "labels" or "label" that holds all samples.
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
        batch_size = None if batch_size is None else whole_number("batch_size", batch_size, 1)
        subset = None if subset is None else whole_number("subset", subset, 1)
        self._limit = batch_size
        self._latest: Iterator[Any] | None = None
        self.population: int | None = None
        pair = as_pair(data)
        if pair is not None and pair[1].ndim:
            data = TensorDataset(*pair)
        if isinstance(data, Mapping) or is_whole(data):
            data = [data]
        _refuse_unfit(data)
        stream = stream or Stream(0, "subset")
        if isinstance(data, Dataset):
            if subset is not None:
                self.population = len(data)  # type: ignore[arg-type]
                # Kept in memory, since groups of it are read again and again.
                data = list(_DatasetBatches(_subset(data, subset, stream), batch_size))
            else:
                data = _DatasetBatches(data, batch_size)
        self._data = data
        if subset is not None and self.population is None:
            self._draw(subset, stream)

    @property
    def ordered(self) -> bool:
        """Whether every pass certainly has the same batches in the same order; a shuffled loader has not."""
        if isinstance(self._data, DataLoader):
            return isinstance(self._data.sampler, SequentialSampler) and self._data.batch_size is not None
        return isinstance(self._data, list | tuple | _DatasetBatches)

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self._data)
        if not isinstance(self._data, DataLoader):  # whose iterators keep workers, and begin anew
            refuse_again(iterator, self._latest)
            self._latest = iterator
        for raw in _read(iterator):
            batch = as_batch(raw)
            step = self._limit or batch.size
            if batch.size <= step:
                yield batch
            else:
                yield from (batch.take(slice(i, i + step)) for i in range(0, batch.size, step))

    def _draw(self, subset: int, stream: Stream) -> None:
        """Keep a uniform subset in memory, so that a shuffled loader serves as well."""
        reservoir = Reservoir(subset, stream)
        # A loader that shuffles by the global generator then does so in the order of this stream.
        with stream.child("order").governing():
            for batch in self:
                reservoir.add(batch)
        self.population = reservoir.seen
        self._data = reservoir.batches(self._limit or DEFAULT_BATCH_SIZE)


class Reservoir:
    """A uniform subset of a stream of samples, however it is cut into batches, in the order of the stream.

    Args:
        size: At most this many samples, drawn without replacement; all are kept in memory.
        stream: Where the subset is drawn from.

    Attributes:
        seen: How many samples were offered.
    """

    def __init__(self, size: int, stream: Stream) -> None:
        self.seen = 0
        self._size = size
        self._generator = stream.numpy()
        self._bound = 1.0
        self._pieces: list[tuple[np.ndarray, Batch]] = []

    def add(self, batch: Batch) -> None:
        """Offer the samples of a batch."""
        self.seen += batch.size
        self._take(self._generator.random(batch.size), batch)
        if sum(len(keys) for keys, _ in self._pieces) > 2 * self._size:
            self._shrink()

    def batches(self, size: int) -> list[Batch]:
        """Return the subset in batches of at most ``size``; those padded to lengths of their own cannot be joined."""
        self._shrink()
        joined: list[Batch] = []
        for _, alike in itertools.groupby((batch for _, batch in self._pieces), _row_shapes):
            whole = _join(list(alike))
            joined += [whole.take(slice(i, i + size)) for i in range(0, whole.size, size)]
        return joined

    def _take(self, keys: np.ndarray, batch: Batch) -> None:
        rows = np.flatnonzero(keys <= self._bound)
        if len(rows):
            # Indexing with a tensor copies, so that kept samples do not hold their whole batch in memory.
            self._pieces.append((keys[rows], batch.take(torch.from_numpy(rows))))

    def _shrink(self) -> None:
        """Keep the samples with the smallest keys."""
        keys = np.concatenate([keys for keys, _ in self._pieces]) if self._pieces else np.empty(0)
        if len(keys) <= self._size:
            return
        self._bound = float(np.partition(keys, self._size - 1)[self._size - 1])
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            self._take(*piece)


def _row_shapes(batch: Batch) -> list[torch.Size]:
    """Return the shapes of what a sample has, and of the tensors that all samples of a batch share."""
    return [t.shape[1:] if batch.has_rows(t) else t.shape for t in tensors_of(batch.inputs)]


class _DatasetBatches:
    """A map-style dataset in its own order, cut into batches."""

    def __init__(self, dataset: Dataset[Any], batch_size: int | None) -> None:
        self._dataset = dataset
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._dataset, TensorDataset):
            *inputs, _ = tensors = self._dataset.tensors
            step = self._batch_size or usual_batch_size(sum(math.prod(t.shape[1:]) for t in inputs))
            yield from zip(*(t.split(step) for t in tensors), strict=True)
            return
        size, step = len(self._dataset), self._batch_size or DEFAULT_BATCH_SIZE  # type: ignore[arg-type]
        for start in range(0, size, step):
            yield collated(self._dataset, range(start, min(start + step, size)))


def usual_batch_size(numbers: int) -> int:
    """Return how many samples go through a model at a time: of narrow ones more, whose calls cost more than they do.

    Args:
        numbers: That a sample has.

    >>> usual_batch_size(3 * 32 * 32), usual_batch_size(2)
    (256, 2048)
    """
    return min(_MOST_SAMPLES, max(DEFAULT_BATCH_SIZE, _NUMBERS // max(1, numbers)))


def _read(iterator: Iterator[Any]) -> Iterator[Any]:
    """Yield what data hold, and tell in a sentence where they fail."""
    for index in itertools.count():
        try:
            raw = next(iterator)
        except StopIteration:
            return
        except (SharpscopeError, OSError, MemoryError):
            raise
        except Exception as error:
            raise SharpscopeError(f"the data fail at batch {index}: {told(error)}") from error
        yield raw


def _refuse_unfit(data: Any) -> None:
    if isinstance(data, Iterator):
        refuse_again(data, data)
    if not isinstance(data, Iterable | Dataset) or isinstance(data, str | bytes) or hasattr(data, "iloc"):
        raise SharpscopeError(
            "data must be batches of (inputs, targets), or mappings with 'labels', or a Dataset, "
            f"got {type(data).__name__}"
        )
    if isinstance(data, DataLoader):
        _refuse_unlike_passes(data)
    dataset: Any = data.dataset if isinstance(data, DataLoader) else data
    if not isinstance(dataset, Dataset):
        return
    if not _is_indexed(dataset):
        if dataset is data:
            raise SharpscopeError(
                f"a Dataset must have a length and samples by index, which {type(data).__name__} has not; "
                "pass a DataLoader over it"
            )
        return
    # Several samples, since a random flip leaves one as it was every other time.
    size = len(dataset)  # type: ignore[arg-type]
    for index in range(0, size, max(1, size // _LOOKED_AT)):
        if not same_numbers(sample_of(dataset, index), sample_of(dataset, index)):
            raise NotDeterministic(
                f"the dataset returns another sample {index} the second time, so it is augmented at random; "
                "measure on clean data, without random transforms"
            )


def _refuse_unlike_passes(loader: DataLoader[Any]) -> None:
    sampler = loader.sampler
    if isinstance(sampler, WeightedRandomSampler) or (isinstance(sampler, RandomSampler) and sampler.replacement):
        raise NotDeterministic(
            f"the loader draws other samples in each pass ({type(sampler).__name__}); measure on all samples in turn"
        )
    if isinstance(sampler, RandomSampler) and loader.drop_last and len(sampler) % (loader.batch_size or 1):
        raise NotDeterministic(
            "the loader shuffles and drops its last batch, so other samples are missing in each pass; make it with "
            "drop_last=False or shuffle=False"
        )


def _is_indexed(dataset: Dataset[Any]) -> bool:
    if isinstance(dataset, IterableDataset):
        return False
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def _subset(dataset: Dataset[Any], size: int, stream: Stream) -> Dataset[Any]:
    total = len(dataset)  # type: ignore[arg-type]
    chosen = sorted(stream.numpy().permutation(total)[:size].tolist())
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(t[chosen] for t in dataset.tensors))
    return Subset(dataset, chosen)


@contextlib.contextmanager
def left_alone(data: Any) -> Iterator[Any]:
    """Yield what can be read in place of ``data``, so that a training that reads ``data`` does not notice."""
    if not isinstance(data, DataLoader):
        yield data
        return
    own = copy.copy(data)
    own._iterator = None  # workers that live on belong to the training, which may be in the middle of them
    holders = (data, data.sampler, data.batch_sampler, getattr(data.batch_sampler, "sampler", None))
    generators = [g for holder in holders if isinstance(g := getattr(holder, "generator", None), torch.Generator)]
    states = [generator.get_state() for generator in generators]
    try:
        yield own
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def as_batch(raw: Any) -> Batch:
    """Return ``(inputs, targets)`` or a mapping with ``labels`` as a batch.

    Raises:
        SharpscopeError: If it is neither.
    """
    if isinstance(raw, Batch):
        return raw
    return Batch(*inputs_and_targets(raw))


def _join(batches: list[Batch]) -> Batch:
    leaves = [tensors_of(b.inputs) for b in batches]
    columns = iter([join_rows(c) if batches[0].has_rows(c[0]) else c[0] for c in zip(*leaves, strict=True)])
    return Batch(_map(batches[0].inputs, lambda _: next(columns)), torch.cat([b.targets for b in batches]))


def tensors_of(tree: Any) -> list[Tensor]:
    """Return every tensor of nested tuples, lists and mappings."""
    found: list[Tensor] = []
    _map(tree, found.append)
    return found


def _map(tree: Any, function: Any) -> Any:
    """Apply a function to every tensor of nested tuples, lists and mappings."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {k: _map(v, function) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        mapped = [_map(v, function) for v in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    return tree


def same_numbers(a: Any, b: Any) -> bool:
    """Tell whether nested tuples, lists and mappings hold the same; missing values are like each other."""
    if isinstance(a, np.ndarray) and a.dtype.kind in "biuf":
        a, b = torch.as_tensor(a), torch.as_tensor(b)
    if isinstance(a, Tensor):
        if a.shape != b.shape:
            return False
        if a.layout is not torch.strided:
            return not (a.to_sparse_coo() - b.to_sparse_coo()).coalesce().values().any()
        if _same_memory(a, b) or torch.equal(a, b):
            return True
        return a.is_floating_point() and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same_numbers(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_numbers, a, b))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    same = a == b
    return bool(same if isinstance(same, bool) else getattr(same, "all", lambda: True)())


def _same_memory(a: Tensor, b: Tensor) -> bool:
    alike = (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)
    return alike and a.data_ptr() == b.data_ptr()
