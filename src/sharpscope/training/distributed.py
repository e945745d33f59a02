"""Training by several processes, each with its share of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from sharpscope.errors import SharpscopeError


@dataclass(frozen=True)
class Workers:
    """The processes that train one model, and which of them this one is.

    Every worker holds the whole model and all the data, and takes its share of each batch. Gradients are added up with
    the weight of each sample, not averaged over workers, so unequal shares do no harm. BatchNorm normalizes by each
    worker's own share, and its running statistics are averaged over workers at the end of each epoch.

    Attributes:
        rank: Which worker this is.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_process_group(cls) -> Workers:
        """Return the workers of the default process group of ``torch.distributed``.

        Raises:
            SharpscopeError: If there is none.
        """
        if not torch.distributed.is_initialized():
            raise SharpscopeError(
                "there is no process group; call torch.distributed.init_process_group first, as torchrun lets you"
            )
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def share(self, batch: Tensor) -> Tensor:
        """Return this worker's part of a batch; parts differ by one sample at most.

        Raises:
            SharpscopeError: If the batch has fewer samples than there are workers.
        """
        if self.count == 1:
            return batch
        if len(batch) < self.count:
            raise SharpscopeError(
                f"a batch of {len(batch)} cannot be shared by {self.count} workers; choose batch_size and train_size "
                "so that the last batch of an epoch has one sample a worker at least"
            )
        return batch.tensor_split(self.count)[self.rank]

    @torch.no_grad()
    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of the same shapes everywhere, by their sums over workers: one exchange for all."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Replace the floating-point buffers of a model by their means over workers."""
        if self.count == 1:
            return
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.add_up(buffers)
        for buffer in buffers:
            buffer.div_(self.count)


ALONE = Workers()
