"""Whether a model computes with the parameters that it is called with, or with others that it holds.

``functional_call`` puts tensors in the place of the attributes of modules. A parameter that is read from a list or a
closure, or through a tensor that an earlier call made of it, stays what it was: every derivative in it would be zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from sharpscope.curvature.autograd.functions import all_behind


class Uses:
    """Follows parameters through the functions that a model calls, over several calls of the model.

    Args:
        own: The model's own parameters by name, which it should not compute with.
    """

    def __init__(self, own: Mapping[str, Tensor]) -> None:
        self._names = list(own)
        self._bit_of = {id(parameter): 1 << number for number, parameter in enumerate(own.values())}
        self._places: dict[int, list[tuple[int, int, int]]] = {}
        for parameter in own.values():
            start, stop, memory = _place(parameter) or (0, 0, 0)
            self._places.setdefault(memory, []).append((start, stop, self._bit_of[id(parameter)]))
        # Of each tensor, as bits: the parameters that it is made of, in this call and in those before.
        self._present, self._past = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self._found = 0

    def begin(self, given: Sequence[Tensor], buffers: Iterable[Tensor]) -> None:
        """Begin a call of the model.

        Args:
            given: What it is called with in the place of its parameters, in their order.
            buffers: What it is called with in the place of its buffers, of which others see that they do not change.
        """
        for tensor, bits in self._present.items():
            self._past[tensor] = bits
        self._present = WeakTensorKeyDictionary()
        for number, tensor in enumerate(given):
            self._present[tensor] = 1 << number
        for tensor in buffers:
            self._present[tensor] = 0

    def see(self, function: Callable[..., Any], arguments: Any, made: Sequence[Tensor]) -> None:
        """Take note of a function that the model called.

        Args:
            function: What was called.
            arguments: In any containers.
            made: The tensors that came of it, or that it wrote to.
        """
        if not made:
            # Such as a shape.
            return
        bits = 0
        for tensor in _content(function, arguments):
            known = self._present.get(tensor)
            if known is None:
                self._found |= self._held(tensor)
            bits |= known or 0
        for tensor in made:
            self._present[tensor] = self._present.get(tensor, 0) | bits

    @property
    def found(self) -> list[str]:
        """The parameters that the model computed with otherwise than as it was called with them."""
        return self._named(self._found)

    def behind(self, tensor: Tensor) -> list[str]:
        """Return the parameters that a tensor is, or was made of in this call."""
        return self._named(self._present.get(tensor, 0))

    def _named(self, bits: int) -> list[str]:
        return [name for number, name in enumerate(self._names) if bits >> number & 1]

    def _held(self, tensor: Tensor) -> int:
        """Return which parameters a tensor that was not made in this call is, is a view of, or is made of."""
        bits = self._past.get(tensor, 0)
        start, stop, memory = _place(tensor) or (0, 0, 0)
        for first, last, bit in self._places.get(memory, ()) if memory else ():
            bits |= bit if start < last and first < stop else 0
        for function in all_behind([tensor]):
            bits |= self._bit_of.get(id(getattr(function, "variable", None)), 0)
        return bits


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the tensors in any containers."""
    leaves = [tree] if isinstance(tree, Tensor) else tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _content(function: Callable[..., Any], arguments: Any) -> list[Tensor]:
    """Return the tensors among arguments that give more than their shape, device or precision."""
    name = getattr(function, "__name__", "")
    if name.startswith("new_") or name.endswith("_like"):
        return []
    tensors = tensors_in(arguments)
    return tensors[:1] if name == "to" or name.endswith("_as") else tensors


def _place(tensor: Tensor) -> tuple[int, int, int] | None:
    """Return the first address of a tensor, the one after its last, and that of its memory; None for one without."""
    try:
        memory, start = tensor.untyped_storage().data_ptr(), tensor.data_ptr()
    except RuntimeError:
        # Sparse, or inside of a transform.
        return None
    extent = 1 + sum((int(size) - 1) * int(step) for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return (start, start + extent * tensor.itemsize, memory) if tensor.numel() else None
