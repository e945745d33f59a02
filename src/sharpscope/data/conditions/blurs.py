"""Corruptions that blur: each pixel becomes a mean over others, or another one. Lengths are shares of the side."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sharpscope.data.conditions.resampling import gaussian_blurred, identity_grid, resampled, streaked
from sharpscope.data.conditions.severity import corruption, in_pixels, side_of
from sharpscope.data.draws import Draws

# Points a pixel, along each dimension, that tell how much of it a disk covers.
_POINTS = 8


@corruption("Gaussian blur", "blur")
def gaussian_blur(images: Tensor, width: float, draws: Draws) -> Tensor:
    """Gaussian blur, as of a lens out of focus."""
    return gaussian_blurred(images, in_pixels(width, images))


@corruption("Defocus blur", "blur", version=1)
def defocus_blur(images: Tensor, radius: float, draws: Draws) -> Tensor:
    """A mean over a disk, as of a lens with an aperture out of focus."""
    pixels = in_pixels(radius, images)
    reach = min(math.ceil(pixels), side_of(images) - 1)
    points = (np.arange((2 * reach + 1) * _POINTS) + 0.5) / _POINTS - reach - 0.5
    inside = points[:, None] ** 2 + points**2 < (pixels + 0.5) ** 2
    disk = inside.reshape(2 * reach + 1, _POINTS, 2 * reach + 1, _POINTS).mean(axis=(1, 3))
    kernel = torch.from_numpy(disk / disk.sum()).to(images)[None, None]
    padded = functional.pad(images, [reach] * 4, mode="reflect")
    return functional.conv2d(padded.flatten(0, 1)[:, None], kernel).view(images.shape)


@corruption(
    "Glass blur", "blur", version=1, differs="all pixels move at once by normal distances, instead of in a row of swaps"
)
def glass_blur(images: Tensor, distance: float, draws: Draws) -> Tensor:
    """Each pixel is taken from a random place nearby, as through frosted glass."""
    height, width = images.shape[2:]
    moves = draws.normal("moves", height, width, 2).to(images.device) * in_pixels(distance, images)
    scale = torch.tensor([2 / width, 2 / height], device=images.device)
    return resampled(images, identity_grid(images) + moves * scale)


@corruption("Motion blur", "blur", differs="a uniform streak, in any direction")
def motion_blur(images: Tensor, length: float, draws: Draws) -> Tensor:
    """Blur along a line in a random direction, as of a moving camera."""
    angle = math.pi * draws.uniform("angle").to(images.device)
    return streaked(images, in_pixels(length, images), angle)


@corruption("Zoom blur", "blur", version=1)
def zoom_blur(images: Tensor, zoom: float, draws: Draws) -> Tensor:
    """A mean over images that are zoomed in more and more, as of a camera that moves towards the scene."""
    grid = identity_grid(images).expand(len(images), -1, -1, -1)
    # The outermost pixels move by half a pixel at most from step to step.
    steps = max(2, math.ceil(zoom * max(images.shape[2:])) + 1)
    total = torch.zeros_like(images)
    for step in range(steps):
        total += resampled(images, grid / (1 + zoom * step / (steps - 1)))
    return total / steps
