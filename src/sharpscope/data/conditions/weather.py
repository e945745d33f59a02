"""Corruptions that are weather: light, fog, frost, snow and drops, drawn at random for each image; no photographs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sharpscope.data.conditions.resampling import fractal, gaussian_blurred, identity_grid, streaked
from sharpscope.data.conditions.severity import corruption, in_pixels
from sharpscope.data.draws import Draws

# The colors of frost, of water and of mud, in [0, 1]; images of another number of channels get their mean.
_FROST = (0.86, 0.93, 1.0)
_WATER = (0.69, 0.93, 0.93)
_MUD = (0.25, 0.16, 0.08)


@corruption(
    "Brightness",
    "weather",
    caveats=("White stays white: on images with a white background it alters what is dark alone.",),
    differs="added to each channel, not to the value of HSV; equal on gray",
)
def brightness(images: Tensor, light: float, draws: Draws) -> Tensor:
    """More light everywhere, clipped at white."""
    return images + light


@corruption("Fog", "weather", version=1)
def fog(images: Tensor, density: float, draws: Draws) -> Tensor:
    """Fog of uneven density: light is added, and contrast is lost."""
    height, width = images.shape[2:]
    clouds = (0.5 + 0.25 * fractal(draws, "clouds", height, width, roughness=0.6)).clamp(0, 1).to(images.device)
    return (images + density * clouds) / (1 + density)


@corruption(
    "Frost", "weather", version=1, differs="crystals of random ridges, denser at the border, instead of photographs"
)
def frost(images: Tensor, cover: float, draws: Draws) -> Tensor:
    """Crystals of ice over the image, densest at its border."""
    height, width = images.shape[2:]
    ridges = torch.ones(len(images), 1, height, width, device=images.device)
    for layer in ("large", "small"):
        field = fractal(draws, layer, height, width, roughness=0.7).to(images.device)
        ridges = ridges * (field.abs() / 0.8).clamp(max=1)
    border = identity_grid(images).abs().amax(dim=3)[:, None]
    share = (cover * (1 - ridges) * (0.5 + 0.5 * border)).clamp(0, 1)
    return images + share * (_tinted(_FROST, images) - images)


@corruption("Snow", "weather", version=1, differs="flakes and whitening are drawn at the size of the image")
def snow(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Flakes that fall in streaks, and a whitening of the scene."""
    height, width = images.shape[2:]
    uniform = draws.uniform("flakes", 1, height, width).to(images.device)
    # Flakes of more snow are those of less and others.
    flakes = gaussian_blurred((uniform < 0.15 * amount).to(images.dtype), max(0.4, in_pixels(0.006, images)))
    angle = math.pi * (0.25 + 0.5 * draws.uniform("angle").to(images.device))
    streaks = streaked(flakes, in_pixels(0.08, images), angle)
    whitened = images + 0.3 * min(1.0, amount) * (1 - images) * images.mean(dim=1, keepdim=True)
    return whitened + (2.5 * streaks).clamp(max=1) * (1 - whitened)


@corruption(
    "Spatter", "weather", version=1, differs="water on half of the images and mud on the others, at every severity"
)
def spatter(images: Tensor, cover: float, draws: Draws) -> Tensor:
    """Drops of water or of mud on the lens."""
    height, width = images.shape[2:]
    field = fractal(draws, "drops", height, width, roughness=0.8, coarsest=6).to(images.device)
    # The share of a standard normal above the threshold is covered; edges are soft over a fifth of its deviation.
    threshold = torch.special.ndtri(torch.tensor(1 - min(cover, 0.999), dtype=torch.float64)).item()
    share = ((field - threshold) / 0.2 + 0.5).clamp(0, 1)
    of_mud = (draws.uniform("mud").to(images.device) < 0.5)[:, None, None, None]
    color = torch.where(of_mud, _tinted(_MUD, images), _tinted(_WATER, images))
    return images + 0.8 * share * (color - images)


def _tinted(color: tuple[float, ...], images: Tensor) -> Tensor:
    """Return a color for images, ``[1, C, 1, 1]``."""
    channels = images.shape[1]
    own = color if channels == len(color) else [sum(color) / len(color)] * channels
    return torch.tensor(own, device=images.device).view(1, channels, 1, 1)
