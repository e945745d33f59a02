"""Shifts, flips, rotations and crops.

All map images ``[N, C, H, W]`` to images of the same shape and dtype, so they compose in any order and a
dataset can declare any of them. The generator lives on the device of the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def random_shift(images: Tensor, generator: torch.Generator, *, pixels: int, fill: float = 0.0) -> Tensor:
    """Shift each image by whole pixels, exactly: the random crop with padding of the usual CIFAR recipes.

    Args:
        images: Shape ``[N, C, H, W]``.
        generator: Source of two draws a sample.
        pixels: The largest shift in each direction; each whole shift is equally likely.
        fill: What enters at the border, in the units of the images.
    """
    n, channels, height, width = images.shape
    padded = functional.pad(images, (pixels, pixels, pixels, pixels), value=fill)
    top, left = torch.randint(0, 2 * pixels + 1, (2, n, 1), generator=generator, device=images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    sample = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, channels, 1, 1)
    return padded[sample, channel, rows.view(n, 1, height, 1), columns.view(n, 1, 1, width)]


def random_flip(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Mirror each image left to right with a probability.

    Args:
        images: Shape ``[N, C, H, W]``.
        generator: Source of one draw a sample.
        probability: Of being mirrored.
    """
    chosen = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < probability
    return torch.where(chosen, images.flip(-1), images)


def random_rotation(
    images: Tensor, generator: torch.Generator, *, degrees: float, shift: int = 0, fill: float = 0.0
) -> Tensor:
    """Rotate each image about its center by a uniform angle, then shift it by whole pixels.

    Both in one bilinear resampling; whole pixels, so that on small images the shift adds no blur of its own.

    Args:
        images: Shape ``[N, C, H, W]``.
        generator: Source of three draws a sample.
        degrees: The largest angle in either direction.
        shift: The largest shift in each direction.
        fill: What enters at the border, in the units of the images.
    """
    n, device = len(images), images.device
    angles = (2 * torch.rand(n, generator=generator, device=device) - 1) * math.radians(degrees)
    shifts = torch.randint(-shift, shift + 1, (2, n), generator=generator, device=device)
    return rotate(images, angles, shifts, fill=fill)


def rotate(images: Tensor, angles: Tensor, shifts: Tensor, *, fill: float = 0.0) -> Tensor:
    """Rotate each image about its center, then shift it.

    Args:
        images: Shape ``[N, C, H, W]``.
        angles: Counterclockwise, in radians, shape ``[N]``.
        shifts: Pixels to the right and pixels down, shape ``[2, N]``.
        fill: What enters at the border, in the units of the images.
    """
    height, width = images.shape[2:]
    cosine, sine = angles.cos(), angles.sin()
    right, down = 2.0 * shifts[0] / width, 2.0 * shifts[1] / height
    # A grid asks where each pixel of the result comes from: undo the shift, then the rotation. Coordinates run
    # from -1 to 1 along both axes, so a rotation in pixels needs the aspect ratio.
    aspect = height / width
    across = torch.stack([cosine, -sine * aspect, sine * aspect * down - cosine * right], dim=1)
    along = torch.stack([sine / aspect, cosine, -sine / aspect * right - cosine * down], dim=1)
    return _resampled(images, torch.stack([across, along], dim=1), fill)


def random_resized_crop(
    images: Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a rectangle of random area and aspect from each image and resize it to the whole.

    A side that would be longer than the image's is cut to it.

    Args:
        images: Shape ``[N, C, H, W]``.
        generator: Source of four draws a sample.
        scale: Smallest and largest area, as shares of the image; uniform.
        ratio: Smallest and largest width over height, in units of the image's own; uniform in their logarithms.

    Reference: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
    """
    area, aspect, across, down = torch.rand((4, len(images)), generator=generator, device=images.device)
    area = scale[0] + (scale[1] - scale[0]) * area
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** aspect
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    zero = torch.zeros_like(area)
    rows = [width, zero, (1 - width) * (2 * across - 1)], [zero, height, (1 - height) * (2 * down - 1)]
    return _resampled(images, torch.stack([torch.stack(row, dim=1) for row in rows], dim=1))


def _resampled(images: Tensor, theta: Tensor, fill: float | None = None) -> Tensor:
    """Return images whose pixels come, bilinearly, from where the affine maps ``theta`` ``[N, 2, 3]`` send them.

    Beyond its border an image goes on as it ends, or as ``fill``.
    """
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    floats = images.to(torch.float32)
    if fill is None:
        moved = functional.grid_sample(floats, grid, padding_mode="border", align_corners=False)
    else:
        # Zeros enter at the border, so the fill is made zero for the resampling.
        moved = functional.grid_sample(floats - fill, grid, align_corners=False) + fill
    return moved.round_().to(images.dtype) if images.dtype == torch.uint8 else moved.to(images.dtype)
