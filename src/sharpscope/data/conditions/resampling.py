"""Blurring and moving the pixels of images: what several corruptions are made of. Each image is treated on its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sharpscope.data.draws import Draws


def gaussian_weights(sigma: float, radius: int) -> list[float]:
    """Return the weights of a Gaussian blur: the integral of the Gaussian over each pixel.

    So a width well under a pixel still blurs a little, as light does that falls on it.
    """
    edges = (np.arange(2 * radius + 2) - radius - 0.5) / (sigma * math.sqrt(2))
    masses = np.diff([math.erf(edge) for edge in edges])
    return [float(mass) for mass in masses / masses.sum()]


def gaussian_blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images ``[N, C, H, W]`` under a Gaussian blur of a width in pixels, cut at three of them."""
    for dim in (2, 3):
        radius = min(math.ceil(3 * sigma), images.shape[dim] - 1)
        images = blurred_along(images, gaussian_weights(sigma, radius), dim)
    return images


def blurred_along(images: Tensor, weights: list[float], dim: int) -> Tensor:
    """Convolve along one dimension with mirrored borders."""
    radius = len(weights) // 2
    if radius == 0:
        return images
    padding = (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0)
    padded = functional.pad(images, padding, mode="reflect")
    total = torch.zeros_like(images)
    for shift, weight in enumerate(weights):
        total += weight * padded.narrow(dim, shift, images.shape[dim])
    return total


def identity_grid(images: Tensor) -> Tensor:
    """Return the grid that samples every pixel where it is, ``[1, H, W, 2]``; coordinates span 2."""
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], device=images.device)
    return functional.affine_grid(identity, [1, *images.shape[1:]], align_corners=False)


def resampled(images: Tensor, grid: Tensor) -> Tensor:
    """Return what images show at the points of a grid ``[N, H, W, 2]``; beyond their borders they are mirrored."""
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def streaked(images: Tensor, length: float, angle: Tensor) -> Tensor:
    """Return images averaged along a line.

    Args:
        images: ``[N, C, H, W]``.
        length: Of the line, in pixels.
        angle: Of the line in each image, in radians, ``[N]``.
    """
    across, down = 2 * angle.cos() / images.shape[3], 2 * angle.sin() / images.shape[2]
    step = torch.stack([across, down], dim=-1)[:, None, None, :]
    # The middles of equal pieces, at most half a pixel long, stand for the whole line.
    pieces = max(2, math.ceil(2 * length))
    positions = ((np.arange(pieces) + 0.5) / pieces - 0.5) * length
    grid = identity_grid(images)
    total = torch.zeros_like(images)
    for position in positions:
        total += resampled(images, grid + float(position) * step)
    return total / pieces


def fractal(draws: Draws, purpose: str, height: int, width: int, *, roughness: float, coarsest: int = 2) -> Tensor:
    """Return smooth random fields with detail at all scales, of zero mean and about unit variance, ``[N, 1, H, W]``.

    Args:
        draws: Of the images.
        purpose: What the fields are for.
        height: In pixels.
        width: In pixels.
        roughness: The amplitude of each scale beside that of the one twice as large, in (0, 1).
        coarsest: How often the largest scale goes into the side.
    """
    total = torch.zeros(draws.count, 1, height, width)
    scales = max(1, math.ceil(math.log2(2 * min(height, width) / coarsest)))
    amplitudes = [roughness**scale for scale in range(scales)]
    for scale, amplitude in enumerate(amplitudes):
        cells = coarsest * 2**scale
        coarse = draws.normal(f"{purpose}-{cells}", 1, cells + 1, cells + 1).cpu()
        total += amplitude * functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return total / math.sqrt(sum(amplitude**2 for amplitude in amplitudes))
