"""Whether a sample's outputs depend on the others of its batch, so that the cut into batches would matter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDeterministic

# Samples that are evaluated without the others, and the relative difference of outputs that rounding may make.
_FEW = 2
_ROUNDING = 1e-2


class Independence:
    """Sees once that a few samples have the outputs alone that they have in their batch.

    A model whose samples depend on each other, such as a graph network, still has a risk of a single batch, so this is
    looked at when a second batch comes.
    """

    def __init__(self) -> None:
        self._few: tuple[Batch, Tensor] | None = None
        self._seen = False

    def check(self, batch: Batch, outputs: Tensor, evaluate: Callable[[Batch], Tensor], *, first: bool) -> None:
        """Look at a batch of a pass.

        Args:
            batch: The samples.
            outputs: Of these, ``[B, C]`` in float64.
            evaluate: Returns the same for other samples.
            first: Whether it is the first batch of the pass.

        Raises:
            NotDeterministic: If the samples of the first batch depend on each other.
        """
        if first and batch.size > _FEW:
            self._few = (batch.take(slice(0, _FEW)), outputs[:_FEW].clone())
        elif not first and self._few is not None and not self._seen:
            few, together = self._few
            self._few = None
            if not _agrees(few, together, evaluate):
                raise NotDeterministic(
                    "the outputs of a sample depend on the other samples of its batch (statistics of the batch?), so "
                    "the risk would depend on how the data is cut; pass all samples as one batch, or change the model"
                )
            self._seen = True


def _agrees(few: Batch, together: Tensor, evaluate: Callable[[Batch], Tensor]) -> bool:
    try:
        with torch.no_grad():
            alone = evaluate(few)
    except Exception:  # noqa: BLE001 - whatever a model may raise
        # What cannot be evaluated alone has been cut wrongly here: the samples are not the first dimension.
        return True
    if not together.isfinite().all():
        return True
    return float((alone - together).abs().max()) <= _ROUNDING * float(together.abs().max())
