"""The running statistics of BatchNorm: how often they change, and what they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharpscope.training.modes import mode


def tracking(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers of a model that keep running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


class RunningStatistics:
    """Makes several passes over parts of a batch count as one update of the running statistics.

    Args:
        model: Whose BatchNorm layers are governed, except those that keep a cumulative average (momentum None).
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [layer for layer in tracking(model) if layer.momentum is not None]

    @contextmanager
    def one_update(self, shares: Sequence[float]) -> Iterator[Callable[[int], None]]:
        """Let the passes of a block blend as if their statistics were averaged first.

        Args:
            shares: The share of each part in the batch.

        Yields:
            To be called with the number of each part before its pass.
        """
        if len(shares) == 1:
            yield lambda part: None
            return
        momenta = [layer.momentum or 0.0 for layer in self._layers]

        def begin(part: int) -> None:
            # So that after all parts the old statistics weigh 1 - m, and part i weighs m times its share.
            later = sum(shares[part + 1 :])
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum * shares[part] / (1 - momentum * later)

        try:
            yield begin
            for layer in self._layers:
                if layer.num_batches_tracked is not None:
                    layer.num_batches_tracked.sub_(len(shares) - 1)
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of BatchNorm by plain means over batches; nothing else is in train mode.

    Args:
        model: Changed in place; a model without BatchNorm is left alone.
        batches: What the model sees; of about equal size, since each weighs the same.
    """
    layers = tracking(model)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    with mode(model, train=False):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        try:
            for batch in batches:
                model(batch)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
