"""The outputs of a model on many inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.network import plain_attention
from sharpscope.curvature.risk.state import ForwardState, restored_state
from sharpscope.training.modes import channels_last, mode


@torch.no_grad()
def predict(
    model: nn.Module,
    inputs: Tensor,
    normalize: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Return the outputs of a model in eval mode; the model is as before afterwards.

    They are those of the function that is trained and measured: transformer layers do not take PyTorch's fast path,
    which they have without gradients only and which returns other numbers where positions are masked.

    Args:
        model: On ``device``.
        inputs: At least one sample as a dataset holds it, such as uint8 ``[N, C, H, W]``, on any device.
        normalize: From a batch of these to what the model sees: ``dataset.normalize``.
        batch_size: Samples a forward pass; 256 is fastest for small networks on a CPU.
        device: Where the model computes.

    Returns:
        Outputs on the CPU, shape ``[N, C]``.
    """
    state = restored_state(ForwardState(model.modules()))
    with mode(model, train=False), state, channels_last(model), plain_attention():
        batches = [model(normalize(batch.to(device))).cpu() for batch in inputs.split(batch_size)]
    return torch.cat(batches)
