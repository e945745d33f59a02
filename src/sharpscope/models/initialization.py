"""Initializations that several networks share."""

from __future__ import annotations

from torch import nn


def initialize_convolutions(model: nn.Module) -> None:
    """Draw every convolution of ``model`` from He's normal distribution (fan out), with biases of zero.

    Other layers keep what PyTorch gave them: BatchNorm starts as the identity, linear layers uniformly.

    Reference: He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
