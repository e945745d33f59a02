"""A small plain convolutional network."""

from __future__ import annotations

from itertools import pairwise

from pydantic import PositiveInt
from torch import nn

from sharpscope.models.initialization import initialize_convolutions
from sharpscope.models.registry import MODELS, image_shape


@MODELS.register()
def cnn(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: tuple[PositiveInt, ...] = (16, 32),
    batch_norm: bool = False,
) -> nn.Module:
    """Small plain CNN: 3x3 convolutions with max pooling, global average pooling, one linear layer.

    Args:
        shape: ``(C, H, W)``, of any height and width.
        classes: The number of outputs.
        channels: The channels of each convolution; ReLU and pooling, which halves the side, follow it.
        batch_norm: Whether BatchNorm takes the place of the convolutions' biases.

    Returns:
        The network; convolutions have He's initialization.

    Raises:
        SpecError: If samples are not images.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((image_shape("cnn", shape)[0], *channels)):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        # Rounding the side up keeps one pixel at the least, however small the images are.
        layers += [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    width = channels[-1] if channels else shape[0]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    initialize_convolutions(model)
    return model
