"""The differentiable evaluation of one batch, kept for as many derivatives as a pass takes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sharpscope.curvature.batches import Batch
from sharpscope.curvature.risk import Parameters, Risk


class Graph:
    """Outputs of a batch with the graph that leads to them from the parameters.

    Attention runs in its plain form, since its fast kernels cannot be differentiated twice.

    Args:
        risk: The risk.
        batch: The samples.
    """

    def __init__(self, risk: Risk, batch: Batch) -> None:
        self.risk = risk
        self.batch = batch
        self.parameters: Parameters = {n: p.detach().requires_grad_() for n, p in risk.parameters.items()}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _PlainBatchNorm():
            self.outputs = risk.outputs(batch, self.parameters)
        self._gradients: dict[tuple[str, ...], list[Tensor]] = {}

    def gradient(self, names: Sequence[str]) -> list[Tensor]:
        """Return the gradient of the summed losses in some parameters, itself differentiable; computed once."""
        key = tuple(names)
        if key not in self._gradients:
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                precise = self.outputs if self.risk.device.type == "mps" else self.outputs.double()
                total = self.risk.loss.values(precise, self.batch.targets).sum()
                chosen = [self.parameters[name] for name in names]
                self._gradients[key] = list(
                    torch.autograd.grad(total, chosen, create_graph=True, materialize_grads=True)
                )
        return self._gradients[key]

    def pull_back(self, cotangents: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Return the sum over samples of ``J_n^T u_n`` for cotangents ``u`` of shape ``[B, C]``, by parameter."""
        chosen = [self.parameters[name] for name in names]
        seed = cotangents.to(self.outputs)
        return list(torch.autograd.grad(self.outputs, chosen, seed, retain_graph=True, materialize_grads=True))


class _PlainBatchNorm(TorchFunctionMode):
    """Runs BatchNorm with fixed statistics as the affine map that it is.

    The kernel's second derivative goes through some twenty passes over its tensors, a quarter of the time of a
    product with the Hessian of a ResNet; that of ``x * s + t`` through a few.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        return _batch_norm(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    per_channel = (1, -1) + (1,) * (input.ndim - 2)
    return input * scale.view(per_channel) + shift.view(per_channel)
