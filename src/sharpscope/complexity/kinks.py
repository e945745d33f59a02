"""Where a network bends along segments: the kinks of its ReLUs and the like, found exactly by going through its layers.

Up to the first operation that bends, a network is linear along a segment, so that where the input of the operation
crosses its kink follows from the values at the two ends. On each piece between such cuts it is linear up to the next
operation that bends, and so on to the output. Each step is one forward pass at the ends of all pieces, up to its
operation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

from sharpscope.errors import NotDefined, SharpscopeError

# Numbers of inputs that are evaluated at a time, and the most pieces that have them.
_NUMBERS, _MOST = 2**20, 4096
# Pieces beyond which nothing is cut: deep networks of images have so many that counting them takes days.
_LIMIT = 200_000
# Kinks nearer to each other than this share of the segment are one: units with the same hyperplane, but for rounding.
_APART = 1e-12
# What is smaller than this share of the largest value is zero, but for rounding.
_ROUNDING = 1e-14
# How far outputs may be from linear on a piece, as a share of the largest.
_STRAIGHT = 1e-8

Evaluate = Callable[[Tensor], Tensor]
# The numbers of pieces that bend, and where between their ends, in (0, 1).
Bends = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pieces:
    """Segments cut into pieces.

    Attributes:
        starts: Where each segment begins, ``[S, ...]``.
        ends: Where it ends.
        segment: Of each cut, its segment, ``[K]`` in rising order.
        place: Where on it the cut is, ``[K]`` from 0 to 1, which are cuts themselves, rising within a segment.
    """

    starts: Tensor
    ends: Tensor
    segment: Tensor
    place: Tensor

    @classmethod
    def whole(cls, starts: Tensor, ends: Tensor) -> Pieces:
        """Return segments that are one piece each."""
        count = len(starts)
        segment = torch.arange(count).repeat_interleave(2)
        return cls(starts, ends, segment, torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(count))

    @property
    def firsts(self) -> Tensor:
        """The number of the cut at which each piece begins."""
        return (self.segment[1:] == self.segment[:-1]).nonzero().squeeze(1)

    @property
    def counts(self) -> Tensor:
        """The number of pieces of each segment, ``[S]``."""
        return self.segment.bincount(minlength=len(self.starts)) - 1

    def points(self, segment: Tensor, place: Tensor) -> Tensor:
        """Return the points at places of segments."""
        at = place.to(self.starts.device).view(-1, *[1] * (self.starts.ndim - 1))
        return (1 - at) * self.starts[segment] + at * self.ends[segment]

    def cut(self, piece: Tensor, share: Tensor) -> Pieces:
        """Return these pieces with further cuts.

        Args:
            piece: Which pieces.
            share: Where between their ends.
        """
        first = self.firsts[piece]
        low, high = self.place[first], self.place[first + 1]
        segment = torch.cat([self.segment, self.segment[first]])
        place = torch.cat([self.place, low + share * (high - low)])
        order = place.argsort(stable=True)
        order = order[segment[order].argsort(stable=True)]
        segment, place = segment[order], place[order]
        apart = torch.ones(len(place), dtype=torch.bool)
        apart[1:] = (segment[1:] != segment[:-1]) | (place[1:] - place[:-1] > _APART)
        # The end of a segment stays, whatever lies right before it.
        last = torch.cat([segment[1:] != segment[:-1], torch.tensor([True])])
        before = torch.cat([last[1:] & ~apart[1:], torch.tensor([False])])
        kept = (apart & ~before) | last
        return Pieces(self.starts, self.ends, segment[kept], place[kept])


def linear_pieces(starts: Tensor, ends: Tensor, evaluate: Evaluate) -> Pieces:
    """Return segments cut where the network bends.

    Args:
        starts: Where they begin, float64 ``[S, ...]``.
        ends: Where they end.
        evaluate: The network: points ``[n, ...]`` to outputs ``[n, C]`` in float64, the same operations for any n.

    Raises:
        NotDefined: If the network is not linear on the pieces.
        SharpscopeError: If there are more than 200,000 pieces.
    """
    pieces = Pieces.whole(starts, ends)
    chunk = min(max(_NUMBERS // max(starts[0].numel(), 1), 1), _MOST)
    for operation in itertools.count():
        bends = [_bends(pieces, firsts, evaluate, operation) for firsts in pieces.firsts.split(chunk)]
        found = [bend for bend in bends if bend is not None]
        if not found:
            break
        numbers = [number + chunk * index for index, (number, _) in enumerate(found)]
        pieces = pieces.cut(torch.cat(numbers), torch.cat([share for _, share in found]))
        if len(pieces.firsts) > _LIMIT:
            raise SharpscopeError(
                f"there are more than {_LIMIT:,} linear regions along {len(starts)} segments; ask for fewer segments, "
                "or measure a smaller network"
            )
    for firsts in pieces.firsts.split(chunk):
        _refuse_curved(pieces, firsts, evaluate)
    return pieces


def _bends(pieces: Pieces, firsts: Tensor, evaluate: Evaluate, operation: int) -> Bends | None:
    """Return where some pieces bend at one operation; None where the network has no more of them."""
    cuts = torch.cat([firsts, firsts + 1])
    watch = _Watch(operation)
    try:
        with watch:
            evaluate(pieces.points(pieces.segment[cuts], pieces.place[cuts]))
    except _Seen:
        assert watch.bends is not None
        return watch.bends
    return None


def _refuse_curved(pieces: Pieces, firsts: Tensor, evaluate: Evaluate) -> None:
    """See that the outputs at the middle of each of some pieces are the mean of those at its ends."""
    segment, low, high = pieces.segment[firsts], pieces.place[firsts], pieces.place[firsts + 1]
    places = torch.cat([low, (low + high) / 2, high])
    first, middle, last = evaluate(pieces.points(segment.repeat(3), places)).chunk(3)
    off = (middle - (first + last) / 2).abs().max()
    if not off <= _STRAIGHT * torch.stack([first, middle, last]).abs().max():
        raise NotDefined(
            "the network is not linear between the kinks of ReLUs, leaky ReLUs, absolute values, hard tanhs and "
            "max-pooling, so it has no linear regions to count (a smooth activation, attention, or a normalization by "
            "the sample itself?)"
        )


class _Seen(Exception):  # nothing went wrong: the rest of the forward pass is of no interest
    """The operation that was waited for has come."""


class _Watch(TorchDispatchMode):
    """Lets a forward pass run up to one of the operations that bend, and finds where.

    Args:
        operation: Which of them, from 0 on.

    Attributes:
        bends: Where it bends; the first half of the rows of what is evaluated are the beginnings of pieces, the second
            half their ends.
    """

    def __init__(self, operation: int) -> None:
        super().__init__()
        self.bends: Bends | None = None
        self._left = operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or end the pass at the one that is waited for."""
        find = _BENDING.get(func._schema.name.removeprefix("aten::").removesuffix("_"))
        if find is not None:
            if not self._left:
                found = list(find(*args, **(kwargs or {})))
                self.bends = torch.cat([piece for piece, _ in found]), torch.cat([share for _, share in found])
                raise _Seen
            self._left -= 1
        return func(*args, **(kwargs or {}))


def _crossings(values: Tensor) -> Bends:
    """Return where values that are linear on pieces cross zero.

    Args:
        values: At the beginnings of the pieces, and then at their ends.
    """
    first, last = values.flatten(1).chunk(2)
    rounding = _ROUNDING * values.abs().max() if values.numel() else 0.0
    crossed = (first * last < 0) & (torch.minimum(first.abs(), last.abs()) > rounding)
    piece, unit = crossed.nonzero(as_tuple=True)
    begin, end = first[piece, unit], last[piece, unit]
    return piece.cpu(), (begin / (begin - end)).cpu().double()


def _at(*kinks: float) -> Callable[..., Iterator[Bends]]:
    """Return what finds where an input crosses fixed values."""

    def find(values: Tensor, *_: Any, **__: Any) -> Iterator[Bends]:
        return (_crossings(values - kink) for kink in kinks)

    return find


def _between(values: Tensor, low: Any = None, high: Any = None, **_: Any) -> Iterator[Bends]:
    return (_crossings(values - bound) for bound in (low, high) if bound is not None)


def _above(values: Tensor, bound: Any, *_: Any) -> Iterator[Bends]:
    yield _crossings(values - bound)


def _hard_tanh(values: Tensor, low: float = -1.0, high: float = 1.0) -> Iterator[Bends]:
    return _between(values, low, high)


def _shrinking(values: Tensor, bound: float = 0.5) -> Iterator[Bends]:
    return _between(values, -bound, bound)


def _greater(one: Tensor, other: Tensor) -> Iterator[Bends]:
    yield _crossings(one - other)


def _max_pool(
    values: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil: bool = False,
) -> Iterator[Bends]:
    """Yield where another pixel of a window becomes the largest."""
    windows = _windows(values, _two(kernel), _two(stride or kernel), _two(padding), _two(dilation), ceil=ceil)
    first, last = windows.chunk(2)
    rounding = _ROUNDING * windows.abs().max()
    for one, other in itertools.combinations(range(windows.shape[-1]), 2):
        piece, share = _crossings(windows[..., one] - windows[..., other])
        # Two may be equal below a third.
        begin, end = first.flatten(1, -2)[piece], last.flatten(1, -2)[piece]
        there = (1 - share).view(-1, 1, 1) * begin + share.view(-1, 1, 1) * end
        equal = (there[..., one] - there[..., other]).abs() <= rounding
        largest = there[..., one] >= there.amax(dim=-1) - rounding
        crossed = (begin[..., one] - begin[..., other]) * (end[..., one] - end[..., other]) < 0
        kept = (equal & largest & crossed).any(dim=1)
        yield piece[kept], share[kept]


def _two(size: Sequence[int]) -> tuple[int, int]:
    return (size[0], size[-1])


def _windows(
    values: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    *,
    ceil: bool,
) -> Tensor:
    """Return the pixels of each window, ``[n, windows, pixels]``; what pads them is never the largest."""
    shape = torch.nn.functional.max_pool2d(values[:1], kernel, stride, padding, dilation, ceil).shape[-2:]
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    missing = [
        (out - 1) * s + extent - side - p
        for out, s, extent, side, p in zip(shape, stride, span, values.shape[-2:], padding, strict=True)
    ]
    lowest = float(values.min()) - 1.0 - float(values.abs().max())
    sides = (padding[1], max(missing[1], 0), padding[0], max(missing[0], 0))
    whole = pad(values, sides, value=lowest).unfold(-2, span[0], stride[0]).unfold(-2, span[1], stride[1])
    whole = whole[..., : shape[0], : shape[1], :: dilation[0], :: dilation[1]]
    return whole.flatten(-2).flatten(1, -2)


# What bends, by its name among the operations of PyTorch, with what finds where.
_BENDING: dict[str, Callable[..., Iterator[Bends]]] = {
    **dict.fromkeys(("relu", "leaky_relu", "abs", "_prelu_kernel"), _at(0.0)),
    "relu6": _at(0.0, 6.0),
    "hardsigmoid": _at(-3.0, 3.0),
    "hardtanh": _hard_tanh,
    "softshrink": _shrinking,
    "clamp": _between,
    **dict.fromkeys(("clamp_min", "clamp_max", "threshold"), _above),
    **dict.fromkeys(("maximum", "minimum"), _greater),
    "max_pool2d_with_indices": _max_pool,
}
