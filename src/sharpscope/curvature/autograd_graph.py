"""What autograd's graph tells of the operations behind a tensor."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# What autograd puts in the place of a derivative that is marked once_differentiable. Differentiating for chosen inputs
# passes it over without a word, and leaves terms out.
ONLY_ONCE = "torch::autograd::Error"


def functions_behind(tensors: Iterable[Tensor]) -> set[str]:
    """Return the names of all functions in the graphs that lead to tensors."""
    waiting = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        following = {f for f, _ in waiting.pop().next_functions if f is not None} - seen
        seen |= following
        waiting += following
    return {function.name() for function in seen}


def seeded(outputs: Tensor, cotangents: Tensor) -> Tensor:
    """Return a scalar whose gradient in the outputs is the cotangents.

    It is a scalar since PyTorch loads SymPy, which takes a second, the first time that it is given a seed.
    """
    with torch.enable_grad():
        return (outputs * cotangents).sum()
