"""Corruptions: conditions of inputs, for images of any size and number of channels.

Each maps images in [0, 1], float32 ``[N, C, H, W]``, to damaged ones; what leaves [0, 1] is clipped by the
caller. Lengths are shares of the shorter side, so a severity means the same for 8x8 as for 64x64. The
arithmetic treats each image on its own.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor
from torch.nn import functional

from sharpscope.condition import ConditionFacts
from sharpscope.data.draws import Draws
from sharpscope.data.registry import CONDITIONS

# The luminance table of ITU-T T.81, annex K.1.
JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


_corruption = partial(
    ConditionFacts,
    "inputs",
    reference=(
        'Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and '
        'Perturbations", ICLR 2019'
    ),
)


@CONDITIONS.register(facts=_corruption("Gaussian noise", "noise"))
def gaussian_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Gaussian noise on every pixel, as of a sensor in low light."""
    std = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return images + std * draws.normal("noise", *images.shape[1:])


@CONDITIONS.register(facts=_corruption("Shot noise", "noise"))
def shot_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Poisson noise on every pixel, as of counted photons."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    # Images are bytes, so there are 256 rates and a table of distribution functions inverts them all exactly.
    # Row r is raised by r: the flattened table ascends, and one search serves every pixel.
    rates = np.arange(256)[:, None] / 255 * photons
    counts = np.arange(int(photons + 12 * math.sqrt(photons)))
    table = torch.from_numpy((pdtr(counts, rates) + np.arange(256)[:, None]).ravel()).to(images.device)
    level = (images * 255).round().to(torch.int64)
    uniform = draws.uniform("count", *images.shape[1:]).to(torch.float64)
    count = torch.searchsorted(table, level + uniform) - level * len(counts)
    return count.clamp(max=len(counts) - 1).to(images.dtype) / photons


@CONDITIONS.register(facts=_corruption("Impulse noise", "noise"))
def impulse_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Salt and pepper: some values become black or white, as by bit errors."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    uniform = draws.uniform("hit", *images.shape[1:])
    pepper, salt = uniform < share / 2, uniform > 1 - share / 2
    return images.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


@CONDITIONS.register(facts=_corruption("Gaussian blur", "blur", differs="width as a share of the side"))
def gaussian_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Gaussian blur, as of a lens out of focus."""
    sigma = (0.04, 0.06, 0.08, 0.11, 0.15)[severity - 1] * _side(images)
    radius = min(math.ceil(3 * sigma), _side(images) - 1)
    # Each weight is the integral of the Gaussian over its pixel, so a width well under a pixel still
    # blurs a little.
    edges = (np.arange(2 * radius + 2) - radius - 0.5) / (sigma * math.sqrt(2))
    masses = np.diff([math.erf(edge) for edge in edges])
    weights = [float(mass) for mass in masses / masses.sum()]
    return _blur_along(_blur_along(images, weights, 2), weights, 3)


@CONDITIONS.register(
    facts=_corruption("Motion blur", "blur", differs="a uniform streak of a length that is a share of the side")
)
def motion_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur along a line in a random direction, as of a moving camera."""
    length = (0.12, 0.18, 0.25, 0.33, 0.42)[severity - 1] * _side(images)
    angle = math.pi * draws.uniform("angle", 1, 1)
    across, down = 2 * angle.cos() / images.shape[3], 2 * angle.sin() / images.shape[2]
    grid = _identity_grid(images)
    # The middles of equal pieces, at most half a pixel long, stand for the whole streak.
    pieces = math.ceil(2 * length)
    positions = ((np.arange(pieces) + 0.5) / pieces - 0.5) * length
    total = torch.zeros_like(images)
    for position in positions:
        total += _resample(images, grid + float(position) * torch.stack([across, down], dim=-1))
    return total / len(positions)


@CONDITIONS.register(
    facts=_corruption("Brightness", "weather", differs="added to each channel, not to the value of HSV; equal on gray")
)
def brightness(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """More light everywhere, clipped at white."""
    return images + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]


@CONDITIONS.register(
    facts=_corruption("Contrast", "digital", differs="severities between those of ImageNet-C and CIFAR-10-C")
)
def contrast(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Less contrast: every channel is drawn towards its mean."""
    kept = (0.6, 0.45, 0.3, 0.2, 0.1)[severity - 1]
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + kept * (images - mean)


@CONDITIONS.register(facts=_corruption("Pixelate", "digital", differs="shares of the side that suit small images"))
def pixelate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Fewer pixels: averaged down to a coarse grid and blown up again."""
    share = (0.85, 0.75, 0.6, 0.5, 0.375)[severity - 1]
    down, across = (_coarsening(size, max(1, round(share * size))) for size in images.shape[2:])
    return (down.to(images.device) @ images.to(torch.float64) @ across.to(images.device).T).to(images.dtype)


@CONDITIONS.register(
    facts=_corruption(
        "JPEG compression",
        "digital",
        differs="only the quantization: one luminance table for every channel, no chroma subsampling",
    )
)
def jpeg_compression(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """JPEG artifacts: the cosine transform of each 8x8 block, coarsely quantized."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    device = images.device
    scaled = (torch.tensor(JPEG_TABLE) * (5000 // quality) + 50) // 100
    table = scaled.clamp(1, 255).to(device, torch.float64)
    basis = _cosine_basis().to(device)
    n, channels, height, width = images.shape
    pad = (0, -width % 8, 0, -height % 8)
    # In float64: at a tie of the quantization, rounding noise would decide.
    padded = functional.pad(images, pad, mode="replicate").to(torch.float64) * 255 - 128
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(n, channels, rows, 8, columns, 8).transpose(3, 4)
    coefficients = basis @ blocks @ basis.T
    quantized = torch.floor(coefficients / table + (0.5 + 1e-6)) * table
    restored = (basis.T @ quantized @ basis).transpose(3, 4).reshape(padded.shape)
    return ((restored[:, :, :height, :width] + 128) / 255).to(images.dtype)


@CONDITIONS.register(
    facts=_corruption(
        "Elastic transform", "digital", differs="one smooth random field of displacements, without the affine part"
    )
)
def elastic_transform(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Smooth local stretching, as of wrinkled paper."""
    displacement = (0.02, 0.035, 0.05, 0.07, 0.09)[severity - 1]
    # A coarse field, blown up, is smooth on the scale of the image whatever its size. Coordinates span 2.
    field = 2 * displacement * draws.normal("field", 2, 4, 4)
    smooth = functional.interpolate(field, tuple(images.shape[2:]), mode="bicubic", align_corners=True)
    return _resample(images, _identity_grid(images) + smooth.permute(0, 2, 3, 1))


def _side(images: Tensor) -> int:
    return min(images.shape[2:])


def _blur_along(images: Tensor, weights: list[float], dim: int) -> Tensor:
    """Convolve along one dimension with mirrored borders."""
    radius = len(weights) // 2
    padding = (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0)
    padded = functional.pad(images, padding, mode="reflect")
    total = torch.zeros_like(images)
    for shift, weight in enumerate(weights):
        total += weight * padded.narrow(dim, shift, images.shape[dim])
    return total


def _coarsening(size: int, cells: int) -> Tensor:
    """Return the matrix that averages pixels over equal cells and spreads the averages back.

    A pixel that lies in two cells gives and takes by its share in each; plain pooling would displace the
    image wherever the cells do not divide the pixels. Float64 ``[size, size]``.
    """
    edges = torch.linspace(0, size, cells + 1, dtype=torch.float64)
    pixels = torch.arange(size, dtype=torch.float64)
    upper, lower = torch.minimum(edges[1:, None], pixels + 1), torch.maximum(edges[:-1, None], pixels)
    overlap = (upper - lower).clamp(min=0)
    return overlap.T @ overlap * (cells / size)


def _identity_grid(images: Tensor) -> Tensor:
    """Return the grid that samples every pixel where it is, ``[1, H, W, 2]``."""
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], device=images.device)
    return functional.affine_grid(identity, [1, *images.shape[1:]], align_corners=False)


def _resample(images: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _cosine_basis() -> Tensor:
    """Return the orthonormal cosine transform of 8 samples, float64 ``[8, 8]``."""
    frequency, sample = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    basis = np.cos((2 * sample + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return torch.from_numpy(basis)
