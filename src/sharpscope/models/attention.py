"""The parts that transformers are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim: Width of the tokens.
        heads: Number of heads.
        head_dim: Width of each.
        tokens: Number of tokens, where attention to oneself is masked.
        causal: Whether a token sees only itself and those before it.
        locality: Whether the temperature is learned, one for all heads, and no token sees itself.
        qkv_bias: Whether queries, keys and values have biases.
        dropout: Share of the attention, and of the outputs, that training drops.

    Reference: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; locality self-attention: Lee et al., "Vision
        Transformer for Small-Size Datasets", arXiv 2112.13492.
    """

    others: Tensor | None

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        tokens: int = 0,
        causal: bool = False,
        locality: bool = False,
        qkv_bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=qkv_bias)
        self.out = nn.Linear(heads * head_dim, dim)
        # exp(temperature) takes the place of 1 / sqrt(head_dim), and starts there.
        start = torch.tensor(-0.5 * math.log(head_dim))
        self.temperature = nn.Parameter(start) if locality else None
        self.register_buffer("others", ~torch.eye(tokens, dtype=torch.bool) if locality else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, tokens, dim]`` to the same shape."""
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = None
        if self.temperature is not None:
            q, scale = q * self.temperature.exp(), 1.0
        mixed = functional.scaled_dot_product_attention(
            q, k, v, self.others, self.dropout if self.training else 0.0, self.causal, scale=scale
        )
        y = self.out(mixed.transpose(1, 2).reshape(n, tokens, -1))
        return functional.dropout(y, self.dropout, self.training)


class Block(nn.Module):
    """Attention and a small network, each after LayerNorm and beside a skip.

    Args:
        attention: The attention.
        dim: Width of the tokens.
        hidden: Width of the small network's hidden layer.
        dropout: Share of the small network's outputs that training drops.
        approximate: Of GELU: "none" or "tanh".
    """

    def __init__(
        self, attention: Attention, dim: int, hidden: int, dropout: float = 0.0, approximate: str = "none"
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, hidden)
        self.activation = nn.GELU(approximate)
        self.narrow = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, tokens, dim]`` to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.dropout(self.narrow(self.activation(self.widen(self.norm2(x)))))

    def residual_branches(self) -> list[nn.Module]:
        """Return where the branches beside the skips end."""
        return [self.attention, self.dropout]
