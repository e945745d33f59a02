"""The running statistics of BatchNorm: how often they change, and what they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharpscope.curvature.risk.state import ForwardState, restored_state
from sharpscope.training.modes import mode


def tracking(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers of a model whose running statistics follow the data in the mode that they are in.

    Those in eval mode, or with a momentum of zero, have fixed statistics, as frozen parts of a model do.
    """
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats and layer.momentum != 0
    ]


class RunningStatistics:
    """Makes several passes over parts of a batch count as one update of the running statistics.

    Args:
        model: Whose BatchNorm layers are governed, except those that keep a cumulative average (momentum None).
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

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
        # Layers can be frozen at any time.
        layers = [layer for layer in tracking(self._model) if layer.momentum is not None]
        momenta = [layer.momentum or 0.0 for layer in layers]
        passed = [None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone() for layer in layers]

        def begin(part: int) -> None:
            # So that after all parts the old statistics weigh 1 - m, and part i weighs m times its share.
            later = sum(shares[part + 1 :])
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum * shares[part] / (1 - momentum * later)

        try:
            yield begin
            for layer, before in zip(layers, passed, strict=True):
                if layer.num_batches_tracked is not None and before is not None:
                    # A layer that was not called has seen none.
                    layer.num_batches_tracked.copy_((layer.num_batches_tracked - before).clamp(max=1) + before)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


@torch.no_grad()
def reestimate(model: nn.Module, layers: Sequence[_BatchNorm], batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of BatchNorm by plain means over batches; nothing else is in train mode.

    Args:
        model: Left as it was but for the statistics of the layers.
        layers: Those of its BatchNorm layers whose statistics are estimated; none for nothing to be done.
        batches: What the model sees; of about equal size, since each weighs the same.
    """
    if not layers:
        return
    others = ForwardState(module for module in model.modules() if module not in set(layers))
    momenta = [layer.momentum for layer in layers]
    with mode(model, train=False), restored_state(others):
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
