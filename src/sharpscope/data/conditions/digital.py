"""Corruptions of digital processing: contrast, saturation, resolution, compression, distortion."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sharpscope.data.conditions.resampling import identity_grid, resampled
from sharpscope.data.conditions.severity import corruption, in_pixels
from sharpscope.data.draws import Draws

# The tables of ITU-T T.81, annexes K.1 and K.2, of luminance and of chrominance.
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
JPEG_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# From RGB to luminance and the two chrominances of JFIF, without the offset of the latter.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@corruption("Contrast", "digital")
def contrast(images: Tensor, lost: float, draws: Draws) -> Tensor:
    """Less contrast: every channel is drawn towards its mean."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + (1 - lost) * (images - mean)


@corruption(
    "Saturation",
    "digital",
    version=1,
    colored=True,
    caveats=("Colors that are nearly gray hardly change.",),
    differs="more of it at every severity, where the reference has less at the first two",
)
def saturate(images: Tensor, gain: float, draws: Draws) -> Tensor:
    """More saturated colors: every pixel is driven away from its gray."""
    gray = images.mean(dim=1, keepdim=True)
    return gray + (1 + gain) * (images - gray)


@corruption(
    "Pixelate", "digital", differs="cells of any size, not of a whole number to a side; averaged, not resampled"
)
def pixelate(images: Tensor, cell: float, draws: Draws) -> Tensor:
    """Fewer pixels: averaged down to a coarse grid and blown up again."""
    down, across = (_coarsening(size, max(1.0, in_pixels(cell, images))).to(images.device) for size in images.shape[2:])
    return (down @ images.to(torch.float64) @ across.T).to(images.dtype)


@corruption("JPEG compression", "digital", differs="the quantization alone: no subsampling of colors")
def jpeg_compression(images: Tensor, coarseness: float, draws: Draws) -> Tensor:
    """JPEG artifacts: the cosine transform of each 8x8 block, coarsely quantized; a coarseness of 1 is quality 50."""
    colored = images.shape[1] == 3
    turn = torch.tensor(_TO_YCC, dtype=torch.float64, device=images.device)
    # In float64: at a tie of the quantization, rounding noise would decide.
    values = images.to(torch.float64) * 255
    planes = torch.einsum("ij,njhw->nihw", turn, values) if colored else values
    luminance = _quantized(planes[:, :1] if colored else planes, JPEG_TABLE, coarseness, offset=128.0)
    if not colored:
        return (luminance / 255).to(images.dtype)
    chrominance = _quantized(planes[:, 1:], JPEG_CHROMA_TABLE, coarseness, offset=0.0)
    restored = torch.einsum("ij,njhw->nihw", torch.linalg.inv(turn), torch.cat([luminance, chrominance], dim=1))
    return (restored / 255).to(images.dtype)


@corruption("Elastic transform", "digital", differs="one smooth random field of displacements, without the affine part")
def elastic_transform(images: Tensor, displacement: float, draws: Draws) -> Tensor:
    """Smooth local stretching, as of wrinkled paper."""
    # A coarse field, blown up, is smooth on the scale of the image whatever its size. Coordinates span 2.
    field = 2 * displacement * draws.normal("field", 2, 4, 4)
    smooth = functional.interpolate(field, tuple(images.shape[2:]), mode="bicubic", align_corners=True)
    return resampled(images, identity_grid(images) + smooth.permute(0, 2, 3, 1).to(images.device))


def _coarsening(size: int, cell: float) -> Tensor:
    """Return the matrix that averages pixels over cells of one length and spreads the averages back.

    A pixel that lies in two cells gives and takes by its share in each; plain pooling would displace the image
    wherever the cells do not divide the pixels. What is left over is shared by the two cells at the ends. Float64
    ``[size, size]``.
    """
    cells = math.ceil(size / cell)
    edges = ((torch.arange(cells + 1, dtype=torch.float64) - cells / 2) * cell + size / 2).clamp(0, size)
    pixels = torch.arange(size, dtype=torch.float64)
    upper, lower = torch.minimum(edges[1:, None], pixels + 1), torch.maximum(edges[:-1, None], pixels)
    overlap = (upper - lower).clamp(min=0)
    return overlap.T @ (overlap / overlap.sum(dim=1, keepdim=True))


def _quantized(planes: Tensor, table: tuple[tuple[int, ...], ...], coarseness: float, *, offset: float) -> Tensor:
    """Return planes in [0, 255], ``[N, C, H, W]`` in float64, once they have been compressed and restored."""
    steps = (torch.tensor(table, dtype=torch.float64) * coarseness).clamp(min=1).to(planes.device)
    basis = _cosine_basis().to(planes.device)
    n, channels, height, width = planes.shape
    padded = functional.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate") - offset
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(n, channels, rows, 8, columns, 8).transpose(3, 4)
    coefficients = basis @ blocks @ basis.T
    quantized = torch.floor(coefficients / steps + (0.5 + 1e-6)) * steps
    restored = (basis.T @ quantized @ basis).transpose(3, 4).reshape(padded.shape)
    return restored[:, :, :height, :width] + offset


def _cosine_basis() -> Tensor:
    """Return the orthonormal cosine transform of 8 samples, float64 ``[8, 8]``."""
    frequency, sample = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    basis = np.cos((2 * sample + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return torch.from_numpy(basis)
