"""VGG networks for small images, with BatchNorm and one hidden linear layer before the head."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import nn

from sharpscope.models.initialization import initialize_convolutions
from sharpscope.models.registry import MODELS, DropRate, dropped, image_shape


def _vgg(channels: int, classes: int, convolutions: tuple[int, ...], width: int, dropout: float) -> nn.Module:
    """Return stages of 3x3 convolutions, each ending in pooling, then a hidden layer and the head.

    Args:
        channels: Of the images.
        classes: The number of outputs.
        convolutions: How many each stage has; channels double from stage to stage, at most to 8 times ``width``.
        width: Channels of the first stage.
        dropout: Share of the hidden layer's outputs that training drops.
    """
    layers: list[nn.Module] = []
    inputs = channels
    for stage, count in enumerate(convolutions):
        outputs = width * min(2**stage, 8)
        for _ in range(count):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        # Rounding the side up keeps one pixel at the least, however small the images are.
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    hidden = [nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), nn.ReLU(), *dropped(dropout)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden, nn.Linear(inputs, classes))
    initialize_convolutions(model)
    return model


@MODELS.register()
def vgg11(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, dropout: DropRate = 0.0) -> nn.Module:
    """VGG-11 with BatchNorm for small images.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage, up to 8 times as many.
        dropout: Share of the hidden layer's outputs that training drops.
    """
    return _vgg(image_shape("vgg11", shape)[0], classes, (1, 1, 2, 2, 2), width, dropout)


@MODELS.register()
def vgg16(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, dropout: DropRate = 0.0) -> nn.Module:
    """VGG-16 with BatchNorm for small images.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage, up to 8 times as many.
        dropout: Share of the hidden layer's outputs that training drops.
    """
    return _vgg(image_shape("vgg16", shape)[0], classes, (2, 2, 3, 3, 3), width, dropout)


@MODELS.register()
def vgg19(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, dropout: DropRate = 0.0) -> nn.Module:
    """VGG-19 with BatchNorm for small images, as in arXiv 2510.12451.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage, up to 8 times as many.
        dropout: Share of the hidden layer's outputs that training drops.
    """
    return _vgg(image_shape("vgg19", shape)[0], classes, (2, 2, 4, 4, 4), width, dropout)
