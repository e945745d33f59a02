"""The samples that a monitor looks at, drawn once without a trace in the training that reads the same data."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from sharpscope.curvature.batches import Batch, Batches
from sharpscope.curvature.risk import random_state_kept
from sharpscope.seeding import Stream


def fixed_samples(data: Any, *, batch_size: int | None, subset: int | None, stream: Stream) -> list[Batch]:
    """Return samples in batches that are kept in memory.

    Args:
        data: What ``sharpscope.measure`` takes.
        batch_size: Samples a batch.
        subset: At most this many samples; all when None.
        stream: Where the subset is drawn from.

    Returns:
        The batches, in the order of the data.

    Raises:
        SharpscopeError: For unfit data.
    """
    with random_state_kept(torch.device("cpu")), _left_alone(data) as own:
        return list(Batches(own, batch_size=batch_size, subset=subset, stream=stream))


@contextlib.contextmanager
def _left_alone(data: Any) -> Iterator[Any]:
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
