"""Networks whose forward pass cuts parameters off from gradients, each in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 3


class Convolution(nn.Module):
    """A convolution without gradients, and its BatchNorm with them."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.cut(x)
        return self.head(torch.tanh(self.norm(x)).mean(dim=(2, 3)))


class DetachedConvolution(Convolution):
    """The same by ``detach_``, which leaves the tensor that it is."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.cut(x).detach_())).mean(dim=(2, 3)))


class Cut(nn.Module):
    """A layer that is cut off, by a function of it and its inputs, in front of a head; and a layer that is not used."""

    def __init__(self, how: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.cut = nn.Linear(5, 6)
        self.unused = nn.Linear(2, 2)
        self.middle = nn.Linear(6, 4)
        self.head = nn.Linear(4, CLASSES)
        self._how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.middle(torch.tanh(self._how(self.cut, x)))))


class Silent(torch.autograd.Function):
    """A linear layer whose backward pass has no gradient for its parameters."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        return None, None, None


def _no_grad(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x)


def _inference_mode(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.inference_mode():
        x = layer(x)
    return x.clone()


def _rounded(layer: nn.Linear, x: Tensor) -> Tensor:
    return (4 * layer(x)).long().to(x.dtype) / 4


CUTS: dict[str, Callable[[nn.Linear, Tensor], Tensor]] = {
    "no_grad": _no_grad,
    "inference_mode": _inference_mode,
    "detach": lambda layer, x: layer(x).detach(),
    "detached_parameters": lambda layer, x: F.linear(x, layer.weight.detach(), layer.bias.detach()),
    "data": lambda layer, x: F.linear(x, layer.weight.data, layer.bias.data),
    "integers": _rounded,
    "function_without_gradients": lambda layer, x: Silent.apply(x, layer.weight, layer.bias),
}


def network(name: str) -> nn.Module:
    """Return a network of ``CUTS`` or a convolutional one, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = {"convolution": Convolution, "detached_convolution": DetachedConvolution}
        model = convolutions[name]() if name in convolutions else Cut(CUTS[name])
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer += torch.rand_like(buffer)
        return model.double().eval()


NETWORKS = [*CUTS, "convolution", "detached_convolution"]


def samples(name: str, count: int = 12) -> tuple[Tensor, Tensor]:
    """Return inputs and targets for a network."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 4, 4) if "convolution" in name else (5,)
    inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, CLASSES, (count,), generator=generator)


class Masked(nn.Module):
    """A transformer with padding, averaged over all positions: in its fast path padded ones are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(ids), src_key_padding_mask=ids == 0).mean(dim=1))


def masked() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return that transformer in float64 and padded sequences."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Masked().double().eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 7, (12, 6), generator=generator)
    for n in range(12):
        ids[n, 2 + n % 5 :] = 0
    return model, (ids, torch.randint(0, CLASSES, (12,), generator=generator))
