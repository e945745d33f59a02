"""A few samples with their outputs, by which a loss of the user's own is understood before a pass begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sharpscope.curvature.risk.batches import Batch

if TYPE_CHECKING:
    from sharpscope.curvature.risk.empirical import Risk

# Of one sample alone, a mean over samples could not be told from a sum.
_FEW = 2


def outputs_of_few(risk: Risk) -> tuple[Tensor, Tensor]:
    """Return outputs in float64 and targets of the first batches, with two samples at least where there are."""
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in risk:
        found = risk.first_outputs(batch)
        with torch.no_grad():
            outputs.append(risk.exact(_outputs_laid_out(risk, batch) if found is None else found))
        targets.append(batch.targets.to(outputs[0].device))
        if sum(map(len, targets)) >= _FEW or targets[0].shape[1:] != targets[-1].shape[1:]:
            break
    if targets[0].shape[1:] != targets[-1].shape[1:]:
        return outputs[0], targets[0]
    return torch.cat(outputs), torch.cat(targets)


def _outputs_laid_out(risk: Risk, batch: Batch) -> Tensor:
    try:
        return risk.outputs(batch)
    except RuntimeError as error:
        if not risk.give_up_layout(error):
            raise
        return risk.outputs(batch.map(risk.laid_out))
