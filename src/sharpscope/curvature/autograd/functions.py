"""What autograd's graph tells of the operations behind a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# What autograd puts in the place of a derivative that is marked once_differentiable. Differentiating for chosen inputs
# passes it over without a word, and leaves terms out.
ONLY_ONCE = "torch::autograd::Error"


def functions_behind(tensors: Iterable[Tensor]) -> set[str]:
    """Return the names of all functions in the graphs that lead to tensors."""
    return {function.name() for function in all_behind(tensors)}


def saved_behind(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what the graphs that lead to tensors hold in memory; the same tensor may come several times.

    Raises:
        RuntimeError: If one was written to since it was saved.
    """
    saving: dict[type, list[str]] = {}
    for function in all_behind(tensors):
        kind = type(function)
        if kind not in saving:
            saving[kind] = [name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors"]
        # A function of the user's own may hold tensors by any name.
        held = [getattr(function, "__dict__", {}), *(getattr(function, name) for name in saving[kind])]
        yield from (leaf for leaf in tree_leaves(held) if isinstance(leaf, Tensor))


def all_behind(tensors: Iterable[Tensor]) -> set[Any]:
    """Return all functions in the graphs that lead to tensors."""
    waiting: list[Any] = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        following = {f for f, _ in waiting.pop().next_functions if f is not None} - seen
        seen |= following
        waiting += following
    return seen


def seeded(outputs: Tensor, cotangents: Tensor) -> Tensor:
    """Return a scalar whose gradient in the outputs is the cotangents.

    It is a scalar since PyTorch loads SymPy, which takes a second, the first time that it is given a seed.
    """
    with torch.enable_grad():
        return (outputs * cotangents).sum()


def lacks_second_derivative(error: Exception) -> bool:
    """Tell whether an error says that an operation cannot be differentiated twice."""
    message = str(error)
    return "derivative for" in message or "not implemented" in message or "double backward" in message.lower()
