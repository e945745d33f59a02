"""Residual networks, with a stem for small images or the one of ImageNet."""

from __future__ import annotations

from typing import Literal

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

    def residual_branches(self) -> list[nn.Module]:
        """Return where the branch beside the skip ends."""
        return [self.bn2]


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1 with BatchNorm, and a skip; the stride is that of the 3x3 one.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out, four times those of the 3x3 convolution.
        stride: Of the 3x3 convolution, where torchvision has it too (He et al. have it in the first one).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))

    def residual_branches(self) -> list[nn.Module]:
        """Return where the branch beside the skip ends."""
        return [self.bn3]


Stem = Literal["auto", "small", "imagenet"]

# Images with a side longer than this get the stem of ImageNet, which makes it four times shorter.
SMALL = 64


def _stem(channels: int, width: int, kind: Stem, side: int) -> nn.Sequential:
    """Return a 3x3 convolution of stride 1, or a 7x7 one of stride 2 and pooling."""
    small = kind == "small" or (kind == "auto" and side <= SMALL)
    kernel, stride = (3, 1) if small else (7, 2)
    convolution = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    pooling = [] if small else [nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), *pooling)


class ResNet(nn.Module):
    """Stem, stages of blocks that double the channels and halve the side, average pooling, linear head.

    Args:
        shape: Of the images: ``(C, H, W)``.
        classes: The number of outputs.
        blocks: Blocks of each stage; all stages but the first begin with stride 2.
        width: Channels of the stem, and of the first stage's 3x3 convolutions.
        block: What a stage consists of.
        stem: For small images, or the one of ImageNet; by the shorter side of the images when "auto".
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        blocks: tuple[int, ...],
        width: int,
        block: type[BasicBlock | Bottleneck] = BasicBlock,
        stem: Stem = "small",
    ) -> None:
        super().__init__()
        self.stem = _stem(shape[0], width, stem, min(shape[1:]))
        expansion = 4 if block is Bottleneck else 1
        layers: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage * expansion
            for place in range(count):
                stride = 2 if stage > 0 and place == 0 else 1
                layers.append(block(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)
        initialize_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, classes]``."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


@MODELS.register()
def resnet8(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-8 for small images: three stages of one block (16, 32, 64 channels).

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage.
    """
    return ResNet(image_shape("resnet8", shape), classes, (1, 1, 1), width)


@MODELS.register()
def resnet20(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-20 of He et al. (2016) for small images, with projection shortcuts.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage.
    """
    return ResNet(image_shape("resnet20", shape), classes, (3, 3, 3), width)


@MODELS.register()
def resnet32(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 16) -> nn.Module:
    """ResNet-32 of He et al. (2016) for small images, with projection shortcuts.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage.
    """
    return ResNet(image_shape("resnet32", shape), classes, (5, 5, 5), width)


@MODELS.register()
def resnet18(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, stem: Stem = "auto") -> nn.Module:
    """ResNet-18; its stem suits the size of the images: 3x3, or 7x7 and pooling above 64 pixels.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage.
        stem: "small" for a 3x3 convolution, "imagenet" for one of 7x7 and pooling, which make the sides four times
            shorter; "auto" for the latter where both sides are above 64 pixels.
    """
    return ResNet(image_shape("resnet18", shape), classes, (2, 2, 2, 2), width, stem=stem)


@MODELS.register()
def resnet34(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, stem: Stem = "auto") -> nn.Module:
    """ResNet-34; its stem suits the size of the images: 3x3, or 7x7 and pooling above 64 pixels.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels of the first stage; they double from stage to stage.
        stem: "small" for a 3x3 convolution, "imagenet" for one of 7x7 and pooling, which make the sides four times
            shorter; "auto" for the latter where both sides are above 64 pixels.
    """
    return ResNet(image_shape("resnet34", shape), classes, (3, 4, 6, 3), width, stem=stem)


@MODELS.register()
def resnet50(shape: tuple[int, ...], classes: int, *, width: PositiveInt = 64, stem: Stem = "auto") -> nn.Module:
    """ResNet-50, of bottlenecks; its stem suits the size of the images: 3x3, or 7x7 and pooling above 64 pixels.

    Args:
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        width: Channels inside the blocks of the first stage, which put out four times as many; they double from stage
            to stage.
        stem: "small" for a 3x3 convolution, "imagenet" for one of 7x7 and pooling, which make the sides four times
            shorter; "auto" for the latter where both sides are above 64 pixels.
    """
    return ResNet(image_shape("resnet50", shape), classes, (3, 4, 6, 3), width, Bottleneck, stem)
