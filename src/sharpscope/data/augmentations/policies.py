"""Augmentation policies for images of any kind: TrivialAugment, RandAugment and cutout, for whole batches.

All map byte images ``[N, C, H, W]`` to such images; every sample has its own draws. The operations and their ranges
are those of RandAugment. Geometric ones are one bilinear resampling of the whole batch; the others are computed for the
images that drew them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# Images as floats in 0..255 and a signed strength in -1..1 each, shape ``[N, 1, 1, 1]``, to such images.
ImageOperation = Callable[[Tensor, Tensor], Tensor]

GEOMETRIC = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_SHEAR, _TRANSLATE, _ROTATE = 0.3, 10 / 32, math.radians(30)


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Put each image through one operation, drawn evenly, of a strength drawn evenly.

    Args:
        images: Bytes, shape ``[N, C, H, W]``.
        generator: Source of three draws a sample.
    """
    return _one_operation(images, generator, torch.rand(len(images), generator=generator, device=images.device))


def rand_augment(images: Tensor, generator: torch.Generator, *, operations: int, strength: float) -> Tensor:
    """Put each image through several operations, each drawn evenly, of one strength.

    Args:
        images: Bytes, shape ``[N, C, H, W]``.
        generator: Source of two draws a sample and operation.
        operations: How many.
        strength: 0 to 1.
    """
    for _ in range(operations):
        images = _one_operation(images, generator, torch.full((len(images),), strength, device=images.device))
    return images


def cutout(images: Tensor, generator: torch.Generator, *, side: float) -> Tensor:
    """Fill a square of each image with the mean of each of its channels.

    Args:
        images: Shape ``[N, C, H, W]``.
        generator: Source of two draws a sample: the center of the square, which may reach over the border.
        side: Of the square, as a share of the shorter side.
    """
    n, _, height, width = images.shape
    size = max(1, round(side * min(height, width)))
    center = torch.rand(2, n, 1, generator=generator, device=images.device)
    inside = []
    for extent, middle in zip((height, width), center, strict=True):
        first = (middle * extent).floor() - size // 2
        place = torch.arange(extent, device=images.device)
        inside.append((place >= first) & (place < first + size))
    square = (inside[0][:, :, None] & inside[1][:, None, :]).unsqueeze(1)
    mean = images.to(torch.float32).mean(dim=(2, 3), keepdim=True)
    return torch.where(square, _like(mean, images), images)


def _one_operation(images: Tensor, generator: torch.Generator, strength: Tensor) -> Tensor:
    n, device = len(images), images.device
    names = [*GEOMETRIC, *OPERATIONS]
    drawn = torch.randint(len(names), (n,), generator=generator, device=device)
    sign = 2 * torch.randint(2, (n,), generator=generator, device=device) - 1
    signed = strength * sign
    floats = _warp(images.to(torch.float32), drawn, signed)
    for number, operation in enumerate(OPERATIONS.values(), start=len(GEOMETRIC)):
        chosen = (drawn == number).nonzero().squeeze(1)
        if len(chosen):
            floats[chosen] = operation(floats[chosen], signed[chosen].view(-1, 1, 1, 1))
    return _like(floats, images)


def _warp(images: Tensor, drawn: Tensor, signed: Tensor) -> Tensor:
    """Resample each image by the geometric operation it drew, if any; black enters at the border."""

    def where(name: str, size: float) -> Tensor:
        return torch.where(drawn == GEOMETRIC.index(name), signed * size, 0.0)

    angle = where("rotate", _ROTATE)
    aspect = images.shape[2] / images.shape[3]
    # Where each pixel of the result comes from, in coordinates from -1 to 1 along both axes.
    right, down = where("translate_x", 2 * _TRANSLATE), where("translate_y", 2 * _TRANSLATE)
    across = [angle.cos(), (where("shear_x", _SHEAR) - angle.sin()) * aspect, right]
    along = [(where("shear_y", _SHEAR) + angle.sin()) / aspect, angle.cos(), down]
    theta = torch.stack([torch.stack(across, dim=1), torch.stack(along, dim=1)], dim=1)
    moved = functional.grid_sample(
        images, functional.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False
    )
    still = (drawn >= len(GEOMETRIC)) | (drawn == GEOMETRIC.index("identity")) | (signed == 0)
    return torch.where(still.view(-1, 1, 1, 1), images, moved)


def _brightness(images: Tensor, signed: Tensor) -> Tensor:
    return images * (1 + 0.9 * signed)


def _contrast(images: Tensor, signed: Tensor) -> Tensor:
    mean = _gray(images).mean(dim=(2, 3), keepdim=True)
    return mean + (images - mean) * (1 + 0.9 * signed)


def _saturation(images: Tensor, signed: Tensor) -> Tensor:
    gray = _gray(images)
    return gray + (images - gray) * (1 + 0.9 * signed)


def _sharpness(images: Tensor, signed: Tensor) -> Tensor:
    channels = images.shape[1]
    kernel = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]], device=images.device) / 13
    weight = kernel.expand(channels, 1, 3, 3)
    smooth = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), weight, groups=channels)
    return smooth + (images - smooth) * (1 + 0.9 * signed)


def _posterize(images: Tensor, signed: Tensor) -> Tensor:
    step = 2.0 ** (4 * signed.abs()).round()
    return (images / step).floor() * step


def _solarize(images: Tensor, signed: Tensor) -> Tensor:
    return torch.where(images >= 256 * (1 - signed.abs()), 255 - images, images)


def _autocontrast(images: Tensor, signed: Tensor) -> Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * 255 / (high - low).clamp_min(1), images)


def _equalize(images: Tensor, signed: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    values = images.round().clamp(0, 255).long().view(n * channels, height * width)
    counts = torch.zeros(n * channels, 256, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values, dtype=torch.float32))
    below = counts.cumsum(dim=1)
    first = below.gather(1, values.amin(dim=1, keepdim=True))
    spread = (below - first) / (height * width - first).clamp_min(1) * 255
    flat = first == height * width
    return torch.where(flat, values.to(torch.float32), spread.gather(1, values)).view_as(images)


OPERATIONS: dict[str, ImageOperation] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _like(floats: Tensor, images: Tensor) -> Tensor:
    return floats.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else floats.to(images.dtype)
