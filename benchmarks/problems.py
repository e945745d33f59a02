"""The networks and data that benchmarks share: small, real, and trained far enough to have a curvature."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope.models import build
from sharpscope.seeding import Stream


def digits(samples: int, size: int) -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits, enlarged to ``[samples, 1, size, size]``, and their classes."""
    found = load_digits()
    images = torch.tensor(found.images[:samples], dtype=torch.float32)[:, None] / 16
    images = F.interpolate(images, size=(size, size), mode="bilinear") if size != 8 else images
    return (images - 0.3) / 0.37, torch.tensor(found.target[:samples])


def trained(name: str, data: tuple[Tensor, Tensor], epochs: int = 3, **options: Any) -> nn.Module:
    """Return a registered model after some epochs of SGD on the data, its learning rate falling to zero.

    Args:
        name: Of the model.
        data: Images and classes.
        epochs: How many.
        **options: Of the model.
    """
    x, y = data
    model = build(name, tuple(x.shape[1:]), 10, Stream(0, "benchmark"), **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=epochs)
    for _ in range(epochs):
        for rows in order.split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def batches(data: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
    """Return the data cut into batches."""
    return list(zip(data[0].split(size), data[1].split(size), strict=True))
