"""A look at what a model does inside, before anything is measured: what its outputs alone do not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from sharpscope.curvature.risk.batches import Batch, same_numbers
from sharpscope.curvature.risk.layout import goes_wrong
from sharpscope.curvature.risk.network import as_tensor
from sharpscope.curvature.risk.state import ForwardState
from sharpscope.errors import NotDeterministic, SharpscopeError

# Where the arguments of each stand.
_CONVOLUTIONS: dict[Callable[..., Any], tuple[str, ...]] = {
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.conv_transpose2d: ("input", "weight", "bias", "stride", "padding", "output_padding", "groups"),
}
# The relative difference of outputs that the order of sums may make.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Known:
    """Samples and the outputs that a model has for them without gradients.

    Attributes:
        inputs: Of the samples.
        outputs: As the model returned them.
    """

    inputs: Any
    outputs: Tensor

    def outputs_of(self, batch: Batch) -> Tensor | None:
        """Return the outputs of a batch if it has these samples and no others."""
        return self.outputs if same_numbers(self.inputs, batch.inputs) else None


class FirstLook:
    """Evaluates a model and sees what happens inside; neither the model nor its state is changed.

    Args:
        model: Called with the inputs.
        parameters: By name.
        buffers: By name.

    Attributes:
        wants_channels_first: Whether a convolution may go wrong with the channels last.
    """

    def __init__(self, model: nn.Module, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        # Contiguous, as a model that goes by the order in memory wants them.
        self._parameters = {name: parameter.detach().contiguous() for name, parameter in parameters.items()}
        self._buffers = buffers
        self._model = model
        self.wants_channels_first = False

    def look(self, batch: Batch, count: int) -> Known | None:
        """Evaluate the model on the first samples of a batch, or on all where it cannot do without.

        Args:
            batch: The samples.
            count: How many of them are enough.

        Returns:
            What was evaluated; None where the model raises an error, of which the pass itself tells.

        Raises:
            NotDeterministic: If it changes a buffer, or its outputs depend on what it keeps from one call to the next.
            SharpscopeError: If it computes in half precision.
        """
        for some in (batch.take(slice(0, count)), batch):
            try:
                # Copies, since the model may write to what it is given, and the data to what it gave.
                outputs = self._look_at(some.map(Tensor.clone).inputs)
            except SharpscopeError:
                raise
            except Exception:  # noqa: BLE001 - whatever a model may raise
                continue
            return Known(some.map(Tensor.clone).inputs, outputs)
        return None

    def _look_at(self, inputs: Any) -> Tensor:
        state = ForwardState(self._model.modules())
        try:
            seen = _Seen()
            with seen:
                outputs, replaced = self._evaluate(inputs)
            self.wants_channels_first = seen.goes_wrong
            if seen.half is not None:
                raise SharpscopeError(
                    f"the model computes in {seen.half} inside, though its parameters are in full precision: too few "
                    "digits for derivatives and differences of losses; let its forward compute in float32 (without "
                    "half(), bfloat16(), set_autocast_enabled() and casts of its own) to measure it"
                )
            if replaced:
                raise NotDeterministic(
                    f"the model changes its buffer '{replaced[0]}' in eval mode (puts another tensor in its place), so "
                    "each sample's loss depends on its batch; do so only where self.training is true"
                )
            changed = state.changed()
            if changed and not _agree(outputs, self._evaluate(inputs)[0]):
                raise NotDeterministic(
                    f"the model's outputs depend on '{changed[0]}', which it changes in every call in eval mode, so "
                    "its risk is not a function of its parameters; change it only where self.training is true"
                )
            # A copy, since the model may keep them, and what it keeps is put back.
            return outputs.clone()
        finally:
            state.restore_changed()

    @torch.no_grad()
    def _evaluate(self, inputs: Any) -> tuple[Tensor, list[str]]:
        """Return the outputs, and the names of buffers that were replaced by others of the same shape."""
        given = {f"model.{name}": tensor for name, tensor in (*self._parameters.items(), *self._buffers.items())}
        left = dict(given)
        outputs = as_tensor(functional_call(self._model, left, (inputs,)))
        replaced = [name for name in self._buffers if _is_another(left[f"model.{name}"], given[f"model.{name}"])]
        return outputs, replaced


class _Seen(TorchFunctionMode):
    """What every function that a model calls shows of its arguments and its results.

    Functions and not the operations below them, since the first use of a mode for those loads a compiler of PyTorch's,
    which takes seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.half: torch.dtype | None = None
        self.goes_wrong = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        # What returns nothing has written to its first argument.
        made = [dtype for dtype in _dtypes(args[:1] if results is None else results) if _is_half(dtype)]
        # What is half from the start is no loss of digits: only where full precision goes in.
        if made and any(dtype.is_floating_point and not _is_half(dtype) for dtype in _dtypes((args, kwargs))):
            self.half = made[0]
        if func in _CONVOLUTIONS:
            given = dict(zip(_CONVOLUTIONS[func], args, strict=False)) | kwargs
            self.goes_wrong |= _may_go_wrong(given, transposed=func is F.conv_transpose2d)
        return results


def _may_go_wrong(given: dict[str, Any], *, transposed: bool) -> bool:
    """Tell whether a convolution with such arguments may have a wrong gradient with the channels last."""
    weight, stride, groups = given["weight"], given.get("stride", 1), given.get("groups", 1)
    channels = weight.shape[1] * (1 if transposed else groups)
    return goes_wrong(weight.shape[2:], [stride] if isinstance(stride, int) else stride, channels, groups)


def _dtypes(tree: Any) -> list[torch.dtype]:
    leaves = [tree] if isinstance(tree, Tensor) else tree_leaves(tree)
    return [leaf.dtype for leaf in leaves if isinstance(leaf, Tensor)]


def _is_half(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point and dtype.itemsize < torch.float32.itemsize


def _is_another(tensor: Tensor, known: Tensor) -> bool:
    # One of another shape is a table that grows; one of the same values makes no difference.
    return tensor is not known and tensor.shape == known.shape and not torch.equal(tensor.to(known), known)


def _agree(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=_ROUNDING * float(a.abs().max()), equal_nan=True)
