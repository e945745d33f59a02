"""What the tests of watching share: samples, and networks that are small and yet have something to lose."""

from __future__ import annotations

import torch
from torch import nn

from sharpscope.curvature.measure import MEASURES

X = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
DEFAULT = [name for name in MEASURES if MEASURES[name].facts.default]
CHEAP = ["gradient_norm", "parameter_norm"]


def network() -> nn.Module:
    """A network in which training draws random numbers and moves buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 3)
        )
    model[1].eval()
    return model


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
