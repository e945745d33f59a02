"""What holds while a model is measured, and that nothing of it is left when this ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from sharpscope.curvature.risk.modes import eval_mode
from sharpscope.curvature.risk.network import plain_attention, refuse_dependent
from sharpscope.curvature.risk.precision import without_autocast
from sharpscope.curvature.risk.random_state import random_state_kept
from sharpscope.curvature.risk.state import ForwardState


@contextlib.contextmanager
def guarded(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep a model in eval mode, in its plain form and full precision, for a block that leaves no trace.

    Args:
        model: Its modes, and what forward passes leave behind in it, are put back in the end, as the global random
            state is.
        device: Where it computes.

    Raises:
        NotDeterministic: If a module changes its weights in eval mode, or goes by the statistics of each batch.
    """
    with random_state_kept(device), eval_mode(model):
        state = ForwardState(model.modules())
        try:
            # What the caller is in for speed would cost derivatives, or their digits.
            with torch.inference_mode(False), without_autocast(device), plain_attention():
                refuse_dependent(model)
                yield
        finally:
            state.restore_changed()
