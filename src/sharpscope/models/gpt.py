"""A small transformer that reads a sequence of symbols from left to right and names its class."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from sharpscope.errors import SpecError
from sharpscope.models.attention import Attention, Block
from sharpscope.models.registry import MODELS, Depth, DropRate, sequence_shape


class SequenceClassifier(nn.Module):
    """Embeddings of symbols and positions, causal blocks, LayerNorm, and a linear head at the last symbol.

    Symbol 0 is an empty place; a sequence ends before the empty places at its end.

    Args:
        symbols: Size of the vocabulary.
        positions: Length of a sequence with its empty places.
        blocks: The blocks.
        dim: Width of the tokens.
        classes: The number of outputs.
        dropout: Share of the embedded tokens that training drops.
    """

    def __init__(
        self, symbols: int, positions: int, blocks: list[Block], dim: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, dim)
        self.positions = nn.Embedding(positions, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes, bias=False)
        self.apply(_initialize)
        for block in blocks:
            # Two outputs a block are added to the skip; so scaled, their sum starts at the size of one.
            for layer in (block.attention.out, block.narrow):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * len(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Map symbols ``[N, positions]``, int64, to logits ``[N, classes]``."""
        places = torch.arange(x.shape[1], device=x.device)
        tokens = self.blocks(self.dropout(self.symbols(x) + self.positions(places)))
        last = (places * (x != 0)).amax(dim=1)
        return self.head(self.norm(tokens)[torch.arange(len(x), device=x.device), last])


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@MODELS.register()
def gpt(
    shape: tuple[int, ...],
    classes: int,
    *,
    dim: PositiveInt = 128,
    depth: Depth = 4,
    heads: PositiveInt = 4,
    dropout: DropRate = 0.0,
) -> nn.Module:
    """Transformer in the form of GPT-2 that classifies sequences of symbols, small by default.

    Args:
        shape: ``(positions, symbols)``; symbol 0 is an empty place.
        classes: The number of outputs.
        dim: Width of the tokens, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each attention.
        dropout: Share of embedded tokens, attention and outputs that training drops.

    Returns:
        The network with GPT-2's initialization; no weights are shared.

    Raises:
        SpecError: If samples are not sequences of symbols, or the width cannot be divided among the heads.

    Reference: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """
    positions, symbols = sequence_shape("gpt", shape)
    if dim % heads:
        raise SpecError(f"option 'dim' of model 'gpt' is a multiple of its {heads} heads, got {dim}", ("dim",))
    blocks = []
    for _ in range(depth):
        attention = Attention(dim, heads, dim // heads, causal=True, dropout=dropout)
        blocks.append(Block(attention, dim, 4 * dim, dropout, "tanh"))
    return SequenceClassifier(symbols, positions, blocks, dim, classes, dropout)
