"""The batches of a pack: each network sees its own data in its own order."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from sharpscope.data import Dataset
from sharpscope.seeding import Stream

# Numbers that are gathered at a time, for several steps or of all samples.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Block:
    """Several batches of each network.

    Attributes:
        inputs: Shape ``[steps, R, N, D]``, as the networks see them, with a one behind them if that was asked for.
        targets: Shape ``[steps, R, N]``, or ``[steps, R, N, C]``.
    """

    inputs: Tensor
    targets: Tensor


class Orders:
    """The order of the samples of each network, epoch by epoch, as ``MiniBatches`` has it.

    Args:
        streams: Of the trainings.
        samples: Of each.
        batch_size: Samples a step.
    """

    def __init__(self, streams: Sequence[Stream], samples: int, batch_size: int) -> None:
        self.samples = samples
        self.batch_size = min(batch_size, samples)
        self._generators = [stream.child("order").torch() for stream in streams]

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return math.ceil(self.samples / self.batch_size)

    @property
    def whole(self) -> bool:
        """Whether a batch has all samples, so that their order is of no importance."""
        return self.batch_size == self.samples

    def draw(self) -> Tensor:
        """Return the order of the next epoch, shape ``[R, samples]``."""
        return torch.stack([torch.randperm(self.samples, generator=generator) for generator in self._generators])

    def rows(self, chosen: Sequence[int]) -> None:
        """Go on with some of the networks; one that is chosen twice has two generators in the same state."""
        states = [self._generators[row].get_state() for row in chosen]
        self._generators = [torch.Generator().set_state(state) for state in states]

    def state(self, row: int) -> Any:
        """Return where the generator of a network is."""
        return self._generators[row].get_state()

    def go_on(self, row: int, state: Tensor) -> None:
        """Go on from there."""
        self._generators[row].set_state(state)


class Batches:
    """The training data of a pack on a device; data that several networks have in common are there once.

    Args:
        datasets: Of the networks, with the labels that they train on; of one size.
        like: Has device and type of the numbers.
        orders: Of their samples.
        ones: Whether each sample has a one behind its numbers.
    """

    def __init__(self, datasets: Sequence[Dataset], like: Tensor, orders: Orders, *, ones: bool = False) -> None:
        inputs: list[Tensor] = []
        first: dict[Hashable, int] = {}
        starts = []
        for data in datasets:
            # Each kind of data normalizes in its own way.
            key = (type(data), id(data.train_inputs), data.mean, data.std)
            if key not in first:
                first[key] = orders.samples * len(inputs)
                inputs.append(data.normalize(data.train_inputs.to(like.device)).flatten(1).to(like.dtype))
            starts.append(first[key])
        self._inputs = pad(torch.cat(inputs), (0, 1), value=1.0) if ones else torch.cat(inputs)
        self._starts = torch.tensor(starts, device=like.device)
        self._targets = torch.stack([_targets(data, like) for data in datasets])
        self._orders = orders
        self._all: Block | None = None

    def epoch(self) -> Iterator[Block]:
        """Go once through the data, in a new order."""
        if self._orders.whole:
            yield self.all_samples()
            return
        size = self._orders.batch_size
        order = self._orders.draw().to(self._inputs.device)
        whole = order.shape[1] // size * size
        steps = max(1, _BLOCK // (len(self._starts) * size * self._inputs.shape[1]))
        for some in order[:, :whole].split(steps * size, dim=1):
            yield self._gathered(some.unflatten(1, (-1, size)).transpose(0, 1))
        if whole < order.shape[1]:
            yield self._gathered(order[None, :, whole:])

    def all_samples(self) -> Block:
        """Return all samples of each network, in the order of its data."""
        if self._all is None:
            order = torch.arange(self._orders.samples, device=self._inputs.device)
            self._all = self._gathered(order.expand(1, len(self._starts), -1))
        return self._all

    def in_order(self) -> Iterator[Block]:
        """Yield all samples of each network in the order of its data, as many at a time as are held without harm."""
        numbers = self._inputs.shape[1]
        if self._orders.whole or len(self._starts) * self._orders.samples * numbers <= _BLOCK:
            yield self.all_samples()
            return
        order = torch.arange(self._orders.samples, device=self._inputs.device)
        for some in order.split(max(1, _BLOCK // (len(self._starts) * numbers))):
            yield self._gathered(some.expand(1, len(self._starts), -1))

    def rows(self, chosen: Sequence[int]) -> None:
        """Go on with some of the networks."""
        index = torch.tensor(chosen, device=self._starts.device)
        self._starts, self._targets, self._all = self._starts[index], self._targets[index], None

    def _gathered(self, order: Tensor) -> Block:
        """Return the samples of an order ``[steps, R, N]``."""
        rows = torch.arange(len(self._starts), device=order.device)[:, None]
        return Block(self._inputs[order + self._starts[:, None]], self._targets[rows, order])


def _targets(data: Dataset, like: Tensor) -> Tensor:
    targets = data.train_targets.to(like.device)
    return targets.to(like.dtype) if targets.is_floating_point() else targets
