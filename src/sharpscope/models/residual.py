"""Where the residual branches of a network end, as the network itself declares it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Residual(Protocol):
    """A module with residual branches: a block, or a whole network that declares those of its blocks."""

    def residual_branches(self) -> Iterable[nn.Module]:
        """Return the last module of each branch, from the input on: what it returns is added to a skip."""


class Branch(NamedTuple):
    """The end of a residual branch.

    Attributes:
        end: What it returns is added to a skip.
        owner: Who declares it, and whose mode, train or eval, is that of the branch.
    """

    end: nn.Module
    owner: nn.Module


def residual_branches(model: nn.Module) -> list[Branch]:
    """Return the residual branches of a model in the order in which its modules are registered."""
    return [
        Branch(end, module)
        for module in model.modules()
        if isinstance(module, Residual)
        for end in module.residual_branches()
    ]
