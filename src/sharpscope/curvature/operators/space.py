"""The space of some of the parameters of a model, as vectors."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.errors import SharpscopeError, suggest


class Space:
    """The space of some of the parameters, flattened in the order of the model.

    Args:
        risk: The risk whose parameters these are.
        patterns: Which: names, or prefixes of names such as "layer3", or shell patterns such as "*.bias"; None for all.
    """

    def __init__(self, risk: Risk, patterns: str | Iterable[str] | None = None) -> None:
        every = risk.parameters
        self.names = list(every) if patterns is None else _matching(every, patterns)
        self._shapes = [every[name].shape for name in self.names]
        self._sizes = [every[name].numel() for name in self.names]
        first = every[self.names[0]]
        self.dtype, self.device = first.dtype, first.device
        self._laid_out = risk.laid_out

    @property
    def size(self) -> int:
        """P, the dimension."""
        return sum(self._sizes)

    def split(self, vector: Tensor) -> Parameters:
        """Return a vector ``[P]`` as tensors by parameter."""
        parts = vector.split(self._sizes)
        views = (part.view(shape) for part, shape in zip(parts, self._shapes, strict=True))
        return {name: self._laid_out(view) for name, view in zip(self.names, views, strict=True)}

    def join(self, tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """Return tensors in the order of ``names`` as one vector ``[P]``, written to ``out`` if that is given."""
        if out is None:
            out = torch.empty(self.size, dtype=self.dtype, device=self.device)
        for part, shape, tensor in zip(out.split(self._sizes), self._shapes, tensors, strict=True):
            part.view(shape).copy_(tensor.detach())
        return out

    def layers(self) -> dict[str, slice]:
        """Return where the parameters of each module stand in a vector."""
        spans: dict[str, slice] = {}
        start = 0
        for name, size in zip(self.names, self._sizes, strict=True):
            layer = layer_of(name)
            begin = spans[layer].start if layer in spans else start
            spans[layer] = slice(begin, start + size)
            start += size
        return spans


def layer_of(name: str) -> str:
    """Return the module that a parameter belongs to; a parameter of the model itself stands for itself."""
    return name.rpartition(".")[0] or name


def _matching(names: Iterable[str], patterns: str | Iterable[str]) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    known = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = {n for n in known if n == pattern or n.startswith(f"{pattern}.") or fnmatch.fnmatchcase(n, pattern)}
        if not found:
            raise SharpscopeError(f"no parameter is called, or lies within, '{pattern}'{suggest(pattern, known)}")
        chosen |= found
    return [name for name in known if name in chosen]
