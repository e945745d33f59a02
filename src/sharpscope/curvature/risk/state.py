"""What a forward pass may leave behind in a model, to be put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.batches import same_numbers

_ABSENT = object()


class ForwardState:
    """The buffers of modules and what else a forward pass may assign anew: their plain tensors and numbers.

    A tensor is put back as the object that it was, with the values that it had, whether it was written in place or
    another one was put in its place. What a module keeps in lists, dictionaries or objects of its own is out of reach.

    Args:
        modules: Each of them by itself, without its children.
        parameters: Whether to keep their parameters too.
    """

    def __init__(self, modules: Iterable[nn.Module], *, parameters: bool = False) -> None:
        owners = [
            owner
            for module in modules
            for owner in (module._buffers, module.__dict__, *([module._parameters] if parameters else []))
        ]
        # The buffers of a module compiled by torch.jit are no dictionary, and none is put in the place of another.
        self._owners = [owner for owner in owners if isinstance(owner, dict)]
        self.take()

    @torch.no_grad()
    def take(self) -> None:
        """Take note of the present state."""
        self._kept = [dict(owner) for owner in self._owners]
        self._tensors = [value for kept in self._kept for value in kept.values() if _is_writable(value)]
        self._copies = [tensor.detach().clone() for tensor in self._tensors]

    def restore(self) -> None:
        """Put it back, to the bit."""
        self._assign()
        self._write(self._tensors, self._copies)

    def restore_changed(self) -> None:
        """Put it back, and touch no tensor that is as it was, since the graph of someone else may need it."""
        self._assign()
        pairs = zip(self._tensors, self._copies, strict=True)
        changed = [(tensor, copy) for tensor, copy in pairs if not same_numbers(tensor, copy)]
        # By .data, since to such a graph nothing has happened.
        self._write([tensor.data for tensor, _ in changed], [copy for _, copy in changed])

    def changed(self) -> list[str]:
        """Return the names of what is another object than it was, or has other values."""
        written = {id(t) for t, copy in zip(self._tensors, self._copies, strict=True) if not same_numbers(t, copy)}
        return [
            name
            for owner, kept in zip(self._owners, self._kept, strict=True)
            for name in _differing(owner, kept) + [name for name, value in kept.items() if id(value) in written]
        ]

    def _assign(self) -> None:
        for owner, kept in zip(self._owners, self._kept, strict=True):
            for name in _differing(owner, kept):
                if name in kept:
                    owner[name] = kept[name]
                else:
                    del owner[name]

    @torch.no_grad()
    def _write(self, tensors: list[Tensor], copies: list[Tensor]) -> None:
        if tensors:
            torch._foreach_copy_(tensors, copies)


@contextmanager
def restored_state(state: ForwardState) -> Iterator[None]:
    """Put the state of modules back at the end of a block, however it ends."""
    state.take()
    try:
        yield
    finally:
        state.restore()


def _differing(owner: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """Return the names of tensors and numbers that are not the objects that they were."""
    return [
        name
        for name in dict.fromkeys([*kept, *owner])
        if (present := owner.get(name, _ABSENT)) is not (before := kept.get(name, _ABSENT))
        and (_is_state(present) or _is_state(before))
        # A mode, which others see to.
        and name != "training"
    ]


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor | bool | int | float)


def _is_writable(value: Any) -> bool:
    """Tell whether a forward pass may write to a value in place: not to an activation, or where PyTorch forbids it."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.grad_fn is None
        and not value.is_inference()
        and not any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True))
    )
