"""The samples that a monitor looks at, drawn once without a trace in the training that reads the same data."""

from __future__ import annotations

from typing import Any

import torch

from sharpscope.curvature.risk.batches import Batch, Batches, left_alone
from sharpscope.curvature.risk.random_state import random_state_kept
from sharpscope.curvature.risk.samples import Samples
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
        SharpscopeError: For unfit data, or none.
    """
    with random_state_kept(torch.device("cpu")), left_alone(data) as own:
        return list(Samples(Batches(own, batch_size=batch_size, subset=subset, stream=stream)))
