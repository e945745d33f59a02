"""Corruptions that are noise: each value is changed by itself."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from sharpscope.data.conditions.severity import corruption
from sharpscope.data.draws import Draws


@corruption("Gaussian noise", "noise")
def gaussian_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """Gaussian noise on every pixel, as of a sensor in low light."""
    return images + std * draws.normal("noise", *images.shape[1:])


@corruption("Shot noise", "noise", caveats=("Black stays black.",))
def shot_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """Poisson noise on every pixel, as of counted photons; its standard deviation is largest on white."""
    photons = std**-2
    # Images are bytes, so there are 256 rates and a table of distribution functions inverts them all exactly.
    # Row r is raised by r: the flattened table ascends, and one search serves every pixel.
    rates = np.arange(256)[:, None] / 255 * photons
    counts = np.arange(math.ceil(photons + 12 * math.sqrt(photons)) + 1)
    table = torch.from_numpy((pdtr(counts, rates) + np.arange(256)[:, None]).ravel()).to(images.device)
    level = (images * 255).round().to(torch.int64)
    uniform = draws.uniform("count", *images.shape[1:]).to(torch.float64)
    count = torch.searchsorted(table, level + uniform) - level * len(counts)
    return count.clamp(max=len(counts) - 1).to(images.dtype) / photons


@corruption("Impulse noise", "noise")
def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Salt and pepper: some values become black or white, as by bit errors."""
    uniform = draws.uniform("hit", *images.shape[1:])
    pepper, salt = uniform < share / 2, uniform > 1 - share / 2
    return images.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


@corruption("Speckle noise", "noise", version=1, caveats=("Black stays black.",))
def speckle_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """Noise that grows with the light of a pixel, as of coherent light."""
    return images + std * images * draws.normal("noise", *images.shape[1:])
