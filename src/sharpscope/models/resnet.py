"""Residual networks for small images: a 3x3 stem of stride 1 and no pooling before the last layer."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from sharpscope.models.initialization import initialize_convolutions
from sharpscope.models.registry import MODELS, image_shape


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a skip; a 1x1 convolution where the shape changes (option B).

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, stages of basic blocks that double the channels and halve the side, average pooling, linear head.

    Args:
        channels: Of the images.
        classes: The number of outputs.
        blocks: Blocks of each stage; all stages but the first begin with stride 2.
        width: Channels of the first stage.
    """

    def __init__(self, channels: int, classes: int, blocks: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        layers: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)
        initialize_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, classes]``."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


@MODELS.register()
def resnet8(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-8 for small images: three stages of one block (16, 32, 64 channels)."""
    return ResNet(image_shape("resnet8", shape)[0], classes, (1, 1, 1), width)


@MODELS.register()
def resnet20(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-20 of He et al. (2016) for small images, with projection shortcuts."""
    return ResNet(image_shape("resnet20", shape)[0], classes, (3, 3, 3), width)


@MODELS.register()
def resnet32(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-32 of He et al. (2016) for small images, with projection shortcuts."""
    return ResNet(image_shape("resnet32", shape)[0], classes, (5, 5, 5), width)


@MODELS.register()
def resnet18(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64) -> nn.Module:
    """ResNet-18 with the stem for small images: 3x3, stride 1, no max pooling."""
    return ResNet(image_shape("resnet18", shape)[0], classes, (2, 2, 2, 2), width)


@MODELS.register()
def resnet34(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64) -> nn.Module:
    """ResNet-34 with the stem for small images: 3x3, stride 1, no max pooling."""
    return ResNet(image_shape("resnet34", shape)[0], classes, (3, 4, 6, 3), width)
