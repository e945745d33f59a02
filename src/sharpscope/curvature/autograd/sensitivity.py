"""Per-sample radial derivatives <theta, grad l_n> from one backward pass to the outputs of the operations.

An operation whose output z is linear in its own parameters (linear, convolution, the affine part of a norm, embedding)
contributes <dl_n/dz, z>: its parameters' gradient is never formed. Operations are recognized by the functions that
are called, not by the modules that call them, so functional models and tied weights are covered. A model that uses
a parameter in any other way is found out and reported; another route must serve then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# What a model calls to differentiate inside its own forward pass.
DIFFERENTIATING: set[Callable[..., Any]] = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
# Where the input, the weight and the bias stand among the arguments of each function.
_Signature = tuple[str, ...]
_LINEAR_IN_PARAMETERS: dict[Callable[..., Any], _Signature] = {
    F.linear: ("input", "weight", "bias"),
    F.conv1d: ("input", "weight", "bias"),
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.conv3d: ("input", "weight", "bias"),
    F.conv_transpose1d: ("input", "weight", "bias"),
    F.conv_transpose2d: ("input", "weight", "bias"),
    F.conv_transpose3d: ("input", "weight", "bias"),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias"),
    F.layer_norm: ("input", "normalized_shape", "weight", "bias"),
    F.group_norm: ("input", "num_groups", "weight", "bias"),
    F.instance_norm: ("input", "running_mean", "running_var", "weight", "bias"),
    F.rms_norm: ("input", "normalized_shape", "weight"),
    F.embedding: ("input", "weight", "padding_idx"),
}


@dataclass(frozen=True)
class Operation:
    """A call of a function whose output is linear in its own parameters.

    Attributes:
        function: What was called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        parameters: The names of the parameters among its arguments, in order.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    parameters: tuple[str, ...]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as far as names are known."""
        return dict(zip(_LINEAR_IN_PARAMETERS.get(self.function, ()), self.args, strict=False)) | self.kwargs

    def call(self, replaced: dict[int, Any]) -> Any:
        """Call it again with other arguments in the place of those with the given ids."""
        args = [replaced.get(id(value), value) for value in self.args]
        return self.function(*args, **{k: replaced.get(id(value), value) for k, value in self.kwargs.items()})


class OperationRecorder(TorchFunctionMode):
    """Watches a forward pass for operations linear in their own parameters, with samples as the first dimension.

    Args:
        parameters: The tensors in use as parameters, by name.
        size: The number of samples B of the batch.

    Attributes:
        anchor: A zero added to outputs that would else lie outside the graph; differentiate in it as well.
        uncovered: Why a parameter is used in any other way, or None.
    """

    def __init__(self, parameters: dict[str, Tensor], size: int) -> None:
        super().__init__()
        first = next(iter(parameters.values()))
        self.anchor = torch.zeros((), dtype=first.dtype, device=first.device, requires_grad=True)
        self.uncovered: str | None = None
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        self._unseen = set(parameters)
        self._size = size

    @property
    def unseen(self) -> set[str]:
        """Parameters that no recorded function was called with."""
        return self._unseen

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DIFFERENTIATING:
            self.uncovered = "the model differentiates inside its own forward pass"
        used = [self._names[id(t)] for t in _flat((args, tuple(kwargs.values()))) if id(t) in self._names]
        result = func(*args, **kwargs)
        if not used or self.uncovered is not None or not any(isinstance(t, Tensor) for t in _flat((result,))):
            return result
        self._unseen.difference_update(used)
        operation = Operation(func, args, kwargs, tuple(used))
        if func not in _LINEAR_IN_PARAMETERS or not self._affine_in_parameters(operation.arguments):
            self.uncovered = f"{getattr(func, '__name__', func)} uses {', '.join(map(repr, used))}"
            return result
        if result.shape[0] != self._size:
            self.uncovered = f"the samples are not the first dimension where {used[0]!r} is used"
            return result
        if not torch.is_grad_enabled():
            return result
        return self._record(operation, result)

    def _record(self, operation: Operation, result: Tensor) -> Tensor:
        """Take note of an operation and its output; return what the model goes on with."""
        raise NotImplementedError

    def _anchored(self, result: Tensor) -> Tensor:
        """Return an output in the graph."""
        return result if result.requires_grad else result + self.anchor

    def _affine_in_parameters(self, arguments: dict[str, Any]) -> bool:
        """Tell whether all of weight and bias are parameters, and nothing else is, so that z is linear in them."""
        own = [arguments.get(name) for name in ("weight", "bias")]
        others = [value for name, value in arguments.items() if name not in ("weight", "bias")]
        if any(id(t) in self._names for t in _flat(tuple(others))):
            return False
        return all(t is None or id(t) in self._names for t in own)


class RadialRecorder(OperationRecorder):
    """Records, during a forward and a backward pass, what each operation contributes.

    Args:
        parameters: The tensors in use as parameters, by name.
        size: The number of samples B of the batch.
        dtype: The precision of the sums.
        keep: Keep a copy of every output; needed by models that overwrite them in place.

    Attributes:
        overwritten: True if an output was changed in place before its contribution was taken.
        covered: The parameters of the operations whose contributions were taken.
    """

    def __init__(self, parameters: dict[str, Tensor], size: int, dtype: torch.dtype, *, keep: bool = False) -> None:
        super().__init__(parameters, size)
        self.overwritten = False
        self.covered: set[str] = set()
        self._dtype = dtype
        self._keep = keep
        self._scratch: Tensor | None = None
        self._contributions: dict[str, Tensor] = {}

    def contributions(self) -> dict[str, Tensor]:
        """Return the contribution to each sample, shape ``[B]``, by the name of the operation's first parameter."""
        return self._contributions

    def _scratch_like(self, tensor: Tensor) -> Tensor:
        scratch = self._scratch
        if scratch is None or scratch.numel() < tensor.numel() or scratch.dtype != tensor.dtype:
            self._scratch = scratch = torch.empty(tensor.numel(), dtype=tensor.dtype, device=tensor.device)
        dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
        stride = tensor.stride() if dense else torch.empty(tensor.shape, device="meta").stride()
        return scratch.as_strided(tensor.shape, stride)

    def _record(self, operation: Operation, result: Tensor) -> Tensor:
        name = operation.parameters[0]
        result = self._anchored(result)
        # The alias shares memory and version but not the graph, so that the hook makes no reference cycle.
        value = result.detach().clone() if self._keep else result.detach()
        version = value._version

        def take(gradient: Tensor) -> None:
            if self.uncovered is not None:
                return
            if value._version != version:
                self.overwritten = True
                return
            self.covered.update(operation.parameters)
            # In memory that is used again and again: fresh pages would cost more than the products.
            products = torch.mul(gradient, value, out=self._scratch_like(gradient))
            if products.ndim > 2:
                # First over the dimensions that need no copy in any memory format, then in the precise dtype.
                products = products.sum(dim=tuple(range(2, products.ndim)))
            products = products.flatten(1).sum(dim=1, dtype=self._dtype)
            known = self._contributions.get(name)
            self._contributions[name] = products if known is None else known + products

        result.register_hook(take)
        return result


def _flat(values: tuple[Any, ...]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        if isinstance(value, tuple | list):
            flat += _flat(tuple(value))
        else:
            flat.append(value)
    return flat
