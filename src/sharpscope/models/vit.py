"""Vision transformers for small images, with what helps them on small datasets."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from sharpscope.models.attention import Attention, Block
from sharpscope.models.registry import MODELS, Depth, DropRate, image_shape


class Patches(nn.Module):
    """Cut images into square patches and map each to a token.

    Args:
        channels: Of the images.
        patch: Side of a patch; images whose sides it does not divide are filled up with zeros, right and below.
        dim: Width of a token.
        shifted: Whether each patch comes with those of the image moved half a patch to each corner (shifted patch
            tokenization), all normalized together.
    """

    def __init__(self, channels: int, patch: int, dim: int, *, shifted: bool) -> None:
        super().__init__()
        self.patch = patch
        self.shifted = shifted
        width = channels * patch**2 * (5 if shifted else 1)
        self.norm = nn.LayerNorm(width) if shifted else nn.Identity()
        self.project = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to tokens ``[N, patches, dim]``."""
        x = functional.pad(x, (0, -x.shape[3] % self.patch, 0, -x.shape[2] % self.patch))
        if self.shifted:
            half = max(1, self.patch // 2)
            corners = [(across, down) for across in (half, -half) for down in (half, -half)]
            x = torch.cat([x, *(functional.pad(x, (a, -a, d, -d)) for a, d in corners)], dim=1)
        return self.project(self.norm(functional.unfold(x, self.patch, stride=self.patch).transpose(1, 2)))


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, blocks, LayerNorm and a linear head on the class token.

    Args:
        patches: From images to tokens.
        count: Number of patches of an image.
        blocks: The blocks.
        dim: Width of the tokens.
        classes: The number of outputs.
        dropout: Share of the embedded tokens that training drops.
    """

    def __init__(
        self, patches: Patches, count: int, blocks: list[Block], dim: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.patches = patches
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, count + 1, dim))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, classes]``."""
        tokens = self.patches(x)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        return self.head(self.norm(tokens[:, 0]))


@MODELS.register()
def vit(
    shape: tuple[int, ...],
    classes: int,
    *,
    patch: PositiveInt = 4,
    dim: PositiveInt = 512,
    depth: Depth = 6,
    heads: PositiveInt = 6,
    head_dim: PositiveInt = 64,
    mlp_dim: PositiveInt = 256,
    shifted_patches: bool = False,
    locality: bool = False,
    dropout: DropRate = 0.0,
) -> nn.Module:
    """Vision transformer for small images; the defaults are the sizes of arXiv 2510.12451.

    Args:
        shape: ``(C, H, W)``, of any height and width.
        classes: The number of outputs.
        patch: Side of a patch.
        dim: Width of the tokens.
        depth: Number of blocks.
        heads: Heads of each attention.
        head_dim: Width of each head.
        mlp_dim: Width of the hidden layer in each block.
        shifted_patches: Shifted patch tokenization: each patch comes with its four diagonal neighbors at half a patch.
        locality: Locality self-attention: a learned temperature, and no token sees itself.
        dropout: Share of embedded tokens, attention and outputs that training drops.

    Returns:
        The network with PyTorch's own initialization of linear layers.

    Raises:
        SpecError: If samples are not images.

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Lee et al., "Vision Transformer for
        Small-Size Datasets", arXiv 2112.13492.
    """
    channels, height, width = image_shape("vit", shape)
    count = math.ceil(height / patch) * math.ceil(width / patch)
    blocks = []
    for _ in range(depth):
        attention = Attention(
            dim, heads, head_dim, tokens=count + 1, locality=locality, qkv_bias=False, dropout=dropout
        )
        blocks.append(Block(attention, dim, mlp_dim, dropout))
    patches = Patches(channels, patch, dim, shifted=shifted_patches)
    return VisionTransformer(patches, count, blocks, dim, classes, dropout)
