"""The brute-force oracle: dense derivatives by plain autograd, to which every fast path is compared.

Slow and large on purpose: of the package, it uses how a risk calls its model and the values of its loss, and nothing of
what it checks. For small models in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch


def batches(risk: Risk) -> Iterator[Batch]:
    """Yield the batches of a risk as plain contiguous tensors, which every model takes."""
    return (batch.map(Tensor.contiguous) for batch in risk)


def mean_loss(risk: Risk) -> Tensor:
    """Return L(theta) as a differentiable scalar of the model's own parameters."""
    total, samples = torch.zeros((), dtype=torch.float64), 0
    for batch in batches(risk):
        with sdpa_kernel(SDPBackend.MATH):  # the only form of attention that can be differentiated twice
            outputs = risk.outputs(batch, dict(risk.model.named_parameters()))
        total = total + risk.loss.values(outputs, batch.targets).sum()
        samples += batch.size
    return total / samples


def hessian(risk: Risk, parameters: Sequence[nn.Parameter] | None = None) -> Tensor:
    """Return the Hessian of L in the given parameters (all by default), one after the other: shape ``[P, P]``."""
    chosen = list(risk.model.parameters()) if parameters is None else list(parameters)
    gradients = torch.autograd.grad(mean_loss(risk), chosen, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    rows = [torch.autograd.grad(entry, chosen, retain_graph=True, materialize_grads=True) for entry in flat]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


def sample_gradients(risk: Risk) -> Tensor:
    """Return the gradient of every sample's loss in all parameters: shape ``[N, P]``."""
    parameters: dict[str, Tensor] = dict(risk.model.named_parameters())
    rows = []
    for batch in batches(risk):
        for i in range(batch.size):
            one = batch.take(slice(i, i + 1))
            loss = risk.loss.values(risk.outputs(one, parameters), one.targets).sum()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            padded = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters.values(), strict=True)]
            rows.append(torch.cat([g.reshape(-1) for g in padded]))
    return torch.stack(rows)


def output_jacobians(risk: Risk) -> Tensor:
    """Return the Jacobian of every sample's outputs in all parameters: shape ``[N, C, P]``."""
    parameters: dict[str, Tensor] = dict(risk.model.named_parameters())
    rows = []
    for batch in batches(risk):
        outputs = risk.outputs(batch, parameters)
        for entry in outputs.reshape(-1):
            found = torch.autograd.grad(entry, list(parameters.values()), retain_graph=True, allow_unused=True)
            padded = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters.values(), strict=True)]
            rows.append(torch.cat([g.reshape(-1) for g in padded]))
    flat = torch.stack(rows)
    return flat.reshape(risk.samples, -1, flat.shape[1])


def flat_parameters(risk: Risk) -> Tensor:
    """Return theta as one vector, shape ``[P]``."""
    return torch.cat([p.detach().reshape(-1) for p in risk.model.parameters()])
