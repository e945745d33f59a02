"""What closed forms must equal, by brute force on a whole network."""

from __future__ import annotations

import torch
from torch import nn

from sharpscope.curvature.risk import Risk
from tests import dense

# The options under which the closed forms have these values.
CLOSED_FORMS = {
    "relative_flatness": {"normalize": False},
    "fisher_rao_norm": {},
    "gradient_norm": {},
    "head_norm": {},
    "parameter_norm": {},
}


def closed_forms(risk: Risk, head: nn.Linear) -> dict[str, float]:
    """Return the values of ``CLOSED_FORMS`` by their definitions, from Hessian blocks and gradients of samples."""
    with risk:
        C, D = head.weight.shape
        H = dense.hessian(risk, [head.weight]).reshape(C, D, C, D)
        gradients = dense.sample_gradients(risk).detach()
        theta = dense.flat_parameters(risk)
    W = head.weight.detach()
    values = {
        "relative_flatness": ((W @ W.T) * torch.einsum("sdtd->st", H.detach())).sum(),
        "fisher_rao_norm": (gradients @ theta).square().mean().sqrt(),
        "gradient_norm": gradients.mean(dim=0).norm(),
        "head_norm": W.norm(),
        "parameter_norm": theta.norm(),
    }
    return {name: value.item() for name, value in values.items()}
