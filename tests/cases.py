"""An adversarial list of models and data: each holds something that an implementation may forget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4


class Residual(nn.Module):
    """Convolutions without bias, BatchNorm, skips with and without a convolution."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.deep = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.deep_norm = nn.BatchNorm2d(4)
        self.short = nn.Conv2d(3, 4, 1, stride=2)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        y = self.deep_norm(self.deep(x))
        y += self.short(x)
        return self.head(self.act(y).mean(dim=(2, 3)))


class View(nn.Module):
    """Flattens by ``view``, which only contiguous tensors allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x))
        return self.head(x.view(x.shape[0], -1))


class Attention(nn.Module):
    """Token embedding by a linear layer, LayerNorm, scaled-dot-product attention, and optionally free parameters."""

    def __init__(self, *, free: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 6)
        self.position = nn.Parameter(torch.randn(5, 6)) if free else None
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.out = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.position is not None:
            x = x + self.position
        q, k, v = self.qkv(self.norm(x)).view(*x.shape[:2], 3, 2, 3).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return self.head((x + self.out(mixed)).mean(dim=1))


class Positionwise(nn.Module):
    """The head at every position, then the mean, or the last, of the positions."""

    def __init__(self, *, select: bool) -> None:
        super().__init__()
        self.body = nn.Linear(3, 6)
        self.head = nn.Linear(6, CLASSES)
        self.select = select

    def forward(self, x: Tensor) -> Tensor:
        z = self.head(torch.tanh(self.body(x)))
        return z[:, -1] if self.select else z.mean(dim=1)


class Tied(nn.Module):
    """One weight used three times, once transposed in a role of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.second(F.gelu(self.first(F.gelu(self.first(x)))))))


class WithMapping(nn.Module):
    """Keyword arguments in, something with ``.logits`` out."""

    @dataclass
    class Out:
        logits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, CLASSES, bias=False)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Out:
        x = self.norm(self.embedding(input_ids)) * mask[..., None]
        return self.Out(self.head(x.sum(dim=1) / mask.sum(dim=1, keepdim=True)))


def mlp(activation: type[nn.Module] = nn.ReLU, *, bias: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 7, bias=bias),
        activation(),
        nn.Linear(7, 6, bias=bias),
        activation(),
        nn.Linear(6, CLASSES, bias=bias),
    )


def grouped() -> nn.Module:
    """Grouped, depthwise and transposed convolutions, GroupNorm, no batch statistics."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 4, 2, stride=2, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


@dataclass(frozen=True)
class Case:
    """A model and its inputs."""

    name: str
    make_model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    mapping: bool = False
    route: str = "sensitivity"
    tags: frozenset[str] = field(default_factory=frozenset)

    def model(self) -> nn.Module:
        """Build the model in float64 with parameters and buffers unlike any default."""
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = self.make_model().double()
            for p in model.parameters():
                p.data += 0.2 * torch.randn_like(p)
            for name, b in model.named_buffers():
                if b.is_floating_point():
                    b.copy_(torch.rand_like(b) + 0.5 if "var" in name else torch.randn_like(b))
        return model.train()

    def data(self, split: tuple[int, ...] = (3, 4, 5)) -> list[Any]:
        """Return twelve samples, cut into batches as asked."""
        n = sum(split)
        generator = torch.Generator().manual_seed(5)
        targets = torch.randint(0, CLASSES, (n,), generator=generator)
        if self.mapping:
            ids = torch.randint(0, 7, (n, *self.shape), generator=generator)
            mask = (torch.rand(n, *self.shape, generator=generator) > 0.3).double().clamp_min(0.1)
            parts = zip(ids.split(split), mask.split(split), targets.split(split), strict=True)
            return [{"input_ids": i, "mask": m, "labels": t} for i, m, t in parts]
        inputs = torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)
        return list(zip(inputs.split(split), targets.split(split), strict=True))


CASES = [
    Case("mlp", mlp, (5,), tags=frozenset({"relu"})),
    Case("mlp_no_bias", lambda: mlp(bias=False), (5,), tags=frozenset({"relu", "homogeneous"})),
    Case("mlp_gelu", lambda: mlp(nn.GELU), (5,)),
    Case("residual", Residual, (2, 4, 4)),
    Case("residual_inplace", lambda: Residual(inplace=True), (2, 4, 4)),
    Case("grouped", grouped, (2, 3, 3)),
    Case("view", View, (2, 4, 4)),
    Case("attention", lambda: Attention(free=False), (5, 3)),
    Case("attention_free_parameter", lambda: Attention(free=True), (5, 3), route="forward_mode"),
    Case("positionwise_mean", lambda: Positionwise(select=False), (5, 3)),
    Case("positionwise_last", lambda: Positionwise(select=True), (3, 3)),
    Case("tied", Tied, (5,)),
    Case("mapping", WithMapping, (4,), mapping=True),
    Case(
        "encoder_layer",
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True), nn.Flatten(), nn.Linear(12, CLASSES)
        ),
        (3, 4),
        route="forward_mode",
    ),
    Case("dropout", lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, CLASSES)), (5,)),
]
SPLITS = [(12,), (3, 4, 5), (1,) * 12]
