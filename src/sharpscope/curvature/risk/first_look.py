"""A look at what a model does inside, before anything is measured: what its outputs alone do not show."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharpscope.curvature.risk.batches import Batch, same_numbers
from sharpscope.curvature.risk.calls import written_parameter
from sharpscope.curvature.risk.layout import goes_wrong
from sharpscope.curvature.risk.modes import as_evaluated
from sharpscope.curvature.risk.network import Caller, as_tensor
from sharpscope.curvature.risk.padding import PaddingMoved, weight_of, withheld_row
from sharpscope.curvature.risk.point import Parameters
from sharpscope.curvature.risk.reach import listed, tolerance
from sharpscope.curvature.risk.state import ForwardState
from sharpscope.curvature.risk.uses import Uses, tensors_in
from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.seeding import Stream

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
        parameters: By name; never given to the model, which may write to what it is given.
        buffers: By name.
        stream: Of where else the model is evaluated.

    Attributes:
        wants_channels_first: Whether a convolution may go wrong with the channels last.
    """

    def __init__(self, model: Caller, parameters: Parameters, buffers: dict[str, Tensor], stream: Stream) -> None:
        self._parameters = parameters
        self._buffers = buffers
        self._model = model
        self._stream = stream
        self.wants_channels_first = False

    def look(self, batch: Batch, count: int) -> Known | None:
        """Evaluate the model on the first samples of a batch, or on all where it cannot do without.

        Args:
            batch: The samples.
            count: How many of them are enough.

        Returns:
            What was evaluated; None where the model raises an error, of which the pass itself tells.

        Raises:
            NotDeterministic: If it changes a parameter or a buffer, or its outputs depend on what it kept.
            SharpscopeError: If it computes in half precision, or with parameters from elsewhere than its modules.
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
            seen = _Seen(Uses(dict(self._model.model.named_parameters())))
            outputs = self._look_here(inputs, seen)
            self.wants_channels_first = seen.goes_wrong
            changed = state.changed()
            if changed and not _agree(outputs, self._evaluate(inputs, self._here())[0]):
                raise NotDeterministic(
                    f"the model's outputs depend on '{changed[0]}', which it changes in every call in eval mode, so "
                    "its risk is not a function of its parameters; change it only where self.training is true"
                )
            self._look_elsewhere(inputs, seen)
            if seen.withheld:
                self._look_at_padding(inputs, outputs, list(seen.withheld))
            self._look_at_own_eval(inputs, outputs)
            return outputs
        finally:
            state.restore_changed()

    def _look_here(self, inputs: Any, seen: _Seen) -> Tensor:
        """Return the outputs at the parameters."""
        given = self._here()
        with seen.call(given, self._buffers):
            outputs, replaced = self._evaluate(inputs, given)
        if seen.half is not None:
            raise SharpscopeError(
                f"the model computes in {seen.half} inside, though its parameters are in full precision: too few "
                "digits for derivatives and differences of losses; let its forward compute in float32 (without "
                "half(), bfloat16(), set_autocast_enabled() and casts of its own) to measure it"
            )
        _refuse_written(given, self._parameters.items())
        if replaced:
            raise NotDeterministic(
                f"the model changes its buffer '{replaced[0]}' in eval mode (puts another tensor in its place), so "
                "each sample's loss depends on its batch; do so only where self.training is true"
            )
        _refuse_constants(seen.uses)
        # A copy, since the model may keep them: what it keeps is written to in its next call, or put back.
        return outputs.clone()

    def _look_elsewhere(self, inputs: Any, seen: _Seen) -> None:
        """Evaluate the model at other parameters after a call at its own, which shows what it keeps of those.

        Weights that fulfill a constraint already are not changed where they are, but here.
        """
        given = dict(self._moved())
        try:
            with seen.call(given, self._buffers), warnings.catch_warnings():
                # Of what is not measured.
                warnings.simplefilter("ignore")
                self._evaluate(inputs, given)
        except Exception:  # noqa: BLE001 - a model may take its own parameters only
            return
        _refuse_written(given, self._moved())
        _refuse_constants(seen.uses)

    def _look_at_padding(self, inputs: Any, outputs: Tensor, names: list[str]) -> None:
        """See that outputs do not depend on rows that gradients leave out."""
        with PaddingMoved():
            moved = self._evaluate(inputs, self._here())[0]
        if not same_numbers(outputs, moved):
            raise SharpscopeError(
                f"the outputs depend on the row of padding_idx in {listed(names)}, which gradients leave out, so "
                "derivatives would not be those of the risk; let forward look it up without padding_idx, as "
                "nn.Embedding without a forward of its own does while it is measured"
            )

    def _look_at_own_eval(self, inputs: Any, outputs: Tensor) -> None:
        """See that a model whose own ``eval()`` changes more than modes computes the same without that."""
        with as_evaluated(self._model) as changed:
            if not changed:
                return
            like = next(iter(self._parameters.values()))
            own = {name: parameter.to(like) for name, parameter in self._model.model.named_parameters()}
            theirs = self._evaluate(inputs, own)[0]
        if not _agree(outputs, theirs, tolerance(like.dtype)):
            raise SharpscopeError(
                f"the model's own eval() changes '{changed[0]}', without which its outputs are others, so it cannot be "
                "measured and left as it was; let its train() and eval() switch modes only (LoRA layers with "
                "merge_weights=False), or its forward not go by self.training where weights are not merged"
            )

    def _here(self) -> Parameters:
        # Contiguous, as a model that goes by the order in memory wants them.
        return {name: p.detach().clone(memory_format=torch.contiguous_format) for name, p in self._parameters.items()}

    def _moved(self) -> Iterator[tuple[str, Tensor]]:
        """Yield other parameters by name, which are the same each time."""
        for number, (name, p) in enumerate(self._parameters.items()):
            generator = self._stream.child("first look", number).torch(p.device)
            scale = float(p.detach().abs().max()) if p.numel() else 0.0
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device)
            yield name, p.detach().contiguous() + (scale or 1.0) * noise

    @torch.no_grad()
    def _evaluate(self, inputs: Any, parameters: Parameters) -> tuple[Tensor, list[str]]:
        """Return the outputs, and the names of buffers that were replaced by others of the same shape."""
        given = {f"model.{name}": tensor for name, tensor in (*parameters.items(), *self._buffers.items())}
        left = dict(given)
        outputs = as_tensor(functional_call(self._model, left, (inputs,)))
        replaced = [name for name in self._buffers if _is_another(left[f"model.{name}"], given[f"model.{name}"])]
        return outputs, replaced


class _Seen(TorchFunctionMode):
    """What every function that a model calls shows of its arguments and its results.

    Functions and not the operations below them, since the first use of a mode for those loads a compiler of PyTorch's,
    which takes seconds.
    """

    def __init__(self, uses: Uses) -> None:
        super().__init__()
        self.uses = uses
        self.half: torch.dtype | None = None
        self.goes_wrong = False
        # The parameters that embeddings have rows of which gradients leave out.
        self.withheld: dict[str, None] = {}

    @contextlib.contextmanager
    def call(self, parameters: Parameters, buffers: dict[str, Tensor]) -> Iterator[None]:
        """See a call of the model with such parameters and buffers."""
        self.uses.begin(list(parameters.values()), buffers.values())
        with self:
            yield

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        # What returns nothing has written to its first argument.
        made, taken = tensors_in(args[:1] if results is None else results), tensors_in((args, kwargs))
        self.uses.see(func, taken, made)
        half = [tensor.dtype for tensor in made if _is_half(tensor.dtype)]
        # What is half from the start is no loss of digits: only where full precision goes in.
        if half and any(tensor.is_floating_point() and not _is_half(tensor.dtype) for tensor in taken):
            self.half = half[0]
        if withheld_row(func, args, kwargs) is not None:
            self.withheld |= dict.fromkeys(self.uses.behind(weight_of(args, kwargs)))
        if func in _CONVOLUTIONS:
            given = dict(zip(_CONVOLUTIONS[func], args, strict=False)) | kwargs
            self.goes_wrong |= _may_go_wrong(given, transposed=func is F.conv_transpose2d)
        return results


def _may_go_wrong(given: dict[str, Any], *, transposed: bool) -> bool:
    """Tell whether a convolution with such arguments may have a wrong gradient with the channels last."""
    weight, stride, groups = given["weight"], given.get("stride", 1), given.get("groups", 1)
    channels = weight.shape[1] * (1 if transposed else groups)
    return goes_wrong(weight.shape[2:], [stride] if isinstance(stride, int) else stride, channels, groups)


def _is_half(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point and dtype.itemsize < torch.float32.itemsize


def _is_another(tensor: Tensor, known: Tensor) -> bool:
    # One of another shape is a table that grows; one of the same values makes no difference.
    return tensor is not known and tensor.shape == known.shape and not torch.equal(tensor.to(known), known)


def _agree(a: Tensor, b: Tensor, rounding: float = _ROUNDING) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=rounding * float(a.abs().max()), equal_nan=True)


def _refuse_written(given: Parameters, expected: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse a model that has written to the parameters that it was given, by whatever way, new as they were."""
    for name, parameter in expected:
        if given[name]._version or not same_numbers(given[name], parameter):
            raise written_parameter(name)


def _refuse_constants(uses: Uses) -> None:
    if uses.found:
        raise SharpscopeError(
            f"the model computes with {listed(uses.found)} from elsewhere than its modules (a list, a closure, or a "
            "tensor that was made in an earlier call), which would count as a constant; let its forward read such a "
            "parameter as an attribute of its module (self.layer.weight) in every call"
        )
