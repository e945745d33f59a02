"""Rows of embeddings that gradients leave out, though they are looked up: those of padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_ARGUMENTS = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")


def withheld_row(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return the row of padding if a call looks it up in an embedding and its gradient would leave it out."""
    if function is not F.embedding:
        return None
    given = _named(args, kwargs)
    row = given.get("padding_idx")
    if row is None:
        return None
    row %= len(given["weight"])
    return row if bool((given["input"] == row).any()) else None


def weight_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the weight that a call of ``F.embedding`` looks up in."""
    weight: Tensor = _named(args, kwargs)["weight"]
    return weight


class PaddingMoved(TorchFunctionMode):
    """Has what embeddings look up for padding changed, as long as it is entered."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        row = withheld_row(func, args, kwargs)
        if row is None:
            return func(*args, **kwargs)
        moved = weight_of(args, kwargs).clone()
        moved[row] += 1 + moved.abs().max()
        return func(**(_named(args, kwargs) | {"weight": moved}))


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
