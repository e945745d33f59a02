"""The empirical risk: the one owner of the number of samples and of reduction.

No measure loops over batches by its own rules, so no result depends on how the data is cut into batches; and
whatever is measured, the model is left bit for bit as it was.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sharpscope.curvature.autograd.functions import functions_behind
from sharpscope.curvature.risk.batches import Batch, tensors_of
from sharpscope.curvature.risk.custom_losses import resolve_loss
from sharpscope.curvature.risk.first_look import FirstLook, Known
from sharpscope.curvature.risk.layout import convolves, laid_out, may_have_channels_last
from sharpscope.curvature.risk.losses import Loss
from sharpscope.curvature.risk.network import (
    Caller,
    Forward,
    as_matrix,
    as_tensor,
    device_of,
    eval_mode,
    plain_attention,
    refuse_dependent,
    refuse_unfit,
    unwrapped,
)
from sharpscope.curvature.risk.precision import without_autocast
from sharpscope.curvature.risk.random_state import random_fingerprint, random_state_kept
from sharpscope.curvature.risk.reach import FEW, Reach
from sharpscope.curvature.risk.state import ForwardState
from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.seeding import Stream

Parameters = dict[str, Tensor]
# Samples that are evaluated without the others, and the relative difference of outputs that rounding may make.
_FEW = 2
_ROUNDING = 1e-2
_RECOMPUTES = (
    "the model computes activations again in the backward pass (activation checkpointing), or hooks what is saved for "
    "it, and derivatives away from its weights would then mix two sets of weights; switch that off to measure"
)


class Risk:
    """L(theta) = (1/N) sum_n l(f(x_n), y_n), in eval mode, over N samples in a fixed order.

    Use it as a context: inside, the model is in eval mode; afterwards its mode and the global random state are what
    they were. Parameters and buffers are never written: every evaluation takes them as arguments.

    Args:
        model: Any module, looked at without what distributes or compiles it; frozen parameters count as parameters.
        batches: Re-iterable batches.
        loss: "cross_entropy", "mse", or a callable (outputs, targets) -> losses of single samples.
        forward: How to call the model on the inputs of a batch; None for ``model(inputs)``, ``model(*inputs)`` or
            ``model(**inputs)`` by the type of the inputs.
        head: The final linear layer or its name, where it should not be searched for.
        device: Where to compute; the model's own device when None.
        stream: The source of all randomness of estimators.
        rtol: The relative standard error that estimators go on for; None for their fixed budgets.
        init: The parameters before training by name, for measures of the distance from them; more names do not harm.

    Attributes:
        reach: What is known of the model's derivatives, once they have been asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        *,
        loss: str | Callable[..., Any] = "cross_entropy",
        forward: Forward | None = None,
        head: nn.Linear | str | None = None,
        device: str | torch.device | None = None,
        stream: Stream | None = None,
        rtol: float | None = None,
        init: Mapping[str, Tensor] | None = None,
    ) -> None:
        if forward is not None and not callable(forward):
            raise SharpscopeError(f"forward must be a callable (model, inputs) -> outputs, got {forward!r}")
        if rtol is not None and not (isinstance(rtol, int | float) and not isinstance(rtol, bool) and rtol > 0):
            raise SharpscopeError(f"rtol must be a positive number, got {rtol!r}")
        model = unwrapped(model)
        refuse_unfit(model)
        own = dict(model.named_parameters())
        self.model = model
        self.loss: Loss = resolve_loss(loss)
        self.device = torch.device(device) if device is not None else device_of(model)
        self.stream = stream or Stream(0, "risk")
        self.rtol = rtol
        self.init = init
        self.head = head
        self._batches = batches
        self._call = Caller(model, forward)
        # Half precision has too few digits for differences of losses; such a model is measured in float32.
        self.dtype = torch.float32 if any(p.dtype in (torch.float16, torch.bfloat16) for p in own.values()) else None
        # Inputs in float64 come from NumPy and not from any thought; a model takes its own precision only.
        dtypes = {p.dtype for p in own.values()}
        self._input_dtype = self.dtype or (dtypes.pop() if len(dtypes) == 1 else None)
        # Convolutions on the CPU, and their derivatives above all, are up to twice as fast with the channels last.
        self._layout = torch.preserve_format
        if not may_have_channels_last(model, self.device):
            self._layout = torch.contiguous_format
        elif self.device.type == "cpu" and convolves(model):
            self._layout = torch.channels_last
        with torch.inference_mode(False):
            self.parameters: Parameters = {name: self._detached(p) for name, p in own.items()}
            self._buffers = {name: self._detached(b).clone() for name, b in model.named_buffers()}
        self.reach = Reach()
        self.samples = 0
        self._mean_loss: float | None = None
        self._writes_inputs: bool | None = None
        self._independent = False
        self._looked_at = False
        self._first: Known | None = None
        self._traced = False
        self._few: tuple[Batch, Tensor] | None = None
        self._entered: list[contextlib.ExitStack] = []

    @property
    def parameter_count(self) -> int:
        """P, each tied parameter once."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def ordered(self) -> bool:
        """Whether every pass certainly has the same batches in the same order."""
        return isinstance(self._batches, list | tuple) or getattr(self._batches, "ordered", False)

    @property
    def precise(self) -> torch.dtype:
        """The precision of sums: float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def with_loss(self, loss: Loss) -> Risk:
        """Return the risk of the same model on the same samples under another loss."""
        other = copy.copy(self)
        other.loss, other._mean_loss = loss, None
        return other

    def at(self, parameters: Parameters) -> Risk:
        """Return the risk of the same model and samples at other parameters."""
        other = copy.copy(self)
        other.parameters, other._mean_loss, other._first = parameters, None, None
        return other

    def in_double(self) -> Risk:
        """Return the risk of the same model and samples in float64."""
        other = self.at({name: p.double() for name, p in self.parameters.items()})
        other.dtype = other._input_dtype = torch.float64
        other._buffers = {name: b.double() if b.is_floating_point() else b for name, b in self._buffers.items()}
        return other

    def on(self, batches: Iterable[Batch], *part: int | str) -> Risk:
        """Return the risk on other samples, with the random stream of that part."""
        other = copy.copy(self)
        other._batches, other.stream = batches, self.stream.child(*part)
        other.samples, other._mean_loss = 0, None
        other._fit_loss()
        return other

    @property
    def additive(self) -> bool:
        """Whether a sample's loss is the same whatever other samples there are."""
        return self.loss.additive

    def _fit_loss(self) -> None:
        """Let a loss of the user's own be looked at, and one that divides by weights see all targets, in a pass."""
        self.loss = self.loss.fitted(self._outputs_of_few, (batch.targets for batch in self._batches))

    def _outputs_of_few(self) -> tuple[Tensor, Tensor]:
        """Return the exact outputs and the targets of the first batches, with two samples at least where there are."""
        outputs: list[Tensor] = []
        targets: list[Tensor] = []
        for batch in self:
            found = self.first_outputs(batch)
            with torch.no_grad():
                outputs.append(self.exact(self._outputs_laid_out(batch) if found is None else found))
            targets.append(batch.targets.to(outputs[0].device))
            if sum(map(len, targets)) >= _FEW or targets[0].shape[1:] != targets[-1].shape[1:]:
                break
        if targets[0].shape[1:] != targets[-1].shape[1:]:
            return outputs[0], targets[0]
        return torch.cat(outputs), torch.cat(targets)

    def _outputs_laid_out(self, batch: Batch) -> Tensor:
        try:
            return self.outputs(batch)
        except RuntimeError as error:
            if not self.give_up_layout(error):
                raise
            return self.outputs(batch.map(self.laid_out))

    def __enter__(self) -> Risk:
        with contextlib.ExitStack() as stack:
            stack.enter_context(random_state_kept(self.device))
            stack.enter_context(eval_mode(self.model))
            stack.callback(ForwardState(self.model.modules()).restore_changed)
            # What the caller is in for speed would cost derivatives, or their digits.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(without_autocast(self.device))
            stack.enter_context(plain_attention())
            refuse_dependent(self.model)
            if not self._entered:
                self._fit_loss()
            self._entered.append(stack.pop_all())
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered.pop().close()

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches on the device, and count them.

        Raises:
            SharpscopeError: If there is no sample.
            NotDeterministic: If their number has changed since the last pass.
        """
        seen = 0
        for batch in self._batches:
            if batch.size:
                seen += batch.size
                batch = batch.to(self.device, self._input_dtype)
                self._look_at(batch)
                yield batch.map(self.laid_out)
        if seen == 0:
            raise SharpscopeError("the data has no samples; pass at least one batch")
        if self.samples not in (0, seen):
            raise NotDeterministic(f"the data had {self.samples} samples in the first pass and {seen} in a later one")
        self.samples = seen

    def _look_at(self, batch: Batch) -> None:
        """Look once at what the model does inside, on a few samples, or on all where it cannot do without."""
        if self._looked_at:
            return
        self._looked_at = True
        look = FirstLook(self._call, self.parameters, self._buffers)
        self._first = look.look(batch, FEW)
        if look.wants_channels_first:
            self._lay_out_contiguous()

    def first_outputs(self, batch: Batch) -> Tensor | None:
        """Return the outputs ``[B, C]`` without gradients as the first look found them; None if of other samples.

        Raises:
            SharpscopeError: If the outputs are not a matrix with one row a sample.
        """
        outputs = None if self._first is None else self._first.outputs_of(batch)
        return None if outputs is None else as_matrix(outputs, batch.size)

    def outputs(self, batch: Batch, parameters: Parameters | None = None) -> Tensor:
        """Return the model's outputs ``[B, C]`` for given parameters, its own by default.

        Raises:
            NotDeterministic: If the model draws random numbers, or changes its buffers, in eval mode.
            SharpscopeError: If the outputs are not a matrix with one row a sample.
        """
        state = {**(parameters or self.parameters), **self._buffers}
        versions = [t._version for t in state.values()]
        before = random_fingerprint(self.device)
        outputs = self.call(batch, parameters or self.parameters)
        if random_fingerprint(self.device) != before:
            raise NotDeterministic(
                "the model draws random numbers in eval mode (dropout that is always on?), so its risk is not a "
                "function of its parameters; turn the randomness off to measure it"
            )
        if not self._traced and outputs.requires_grad:
            self._traced = True
            if "CheckpointFunctionBackward" in functions_behind([outputs]):
                raise SharpscopeError(_RECOMPUTES)
        for (name, tensor), version in zip(state.items(), versions, strict=True):
            if tensor._version != version:
                kind = "buffer" if name in self._buffers else "parameter"
                raise NotDeterministic(
                    f"the model changes its {kind} '{name}' in eval mode (BatchNorm kept in train mode?), so each "
                    "sample's loss depends on its batch; let eval() reach every module"
                )
        return outputs

    def call(self, batch: Batch, parameters: Parameters) -> Tensor:
        """Return the outputs ``[B, C]`` like ``outputs``, unchecked for randomness: fit for function transforms."""
        state = {f"model.{k}": v for k, v in (*parameters.items(), *self._buffers.items())}
        if self._writes_inputs is not False:
            # The first call is on a copy, which shows whether the model works in place on its inputs.
            batch = batch.map(Tensor.clone)
        versions = [t._version for t in tensors_of(batch.inputs)]
        try:
            with torch.autograd.graph.disable_saved_tensors_hooks(_RECOMPUTES):
                outputs = as_tensor(functional_call(self._call, state, (batch.inputs,)))
        except RuntimeError as error:
            if str(error) == _RECOMPUTES:
                raise SharpscopeError(_RECOMPUTES) from error
            if self.dtype is None or "dtype" not in str(error):
                raise
            raise SharpscopeError(
                f"a model in half precision is measured in {self.dtype}, and this one casts by itself: {error}; "
                "convert it with model.float() and take casts out of its forward"
            ) from error
        if self._writes_inputs is None:
            self._writes_inputs = versions != [t._version for t in tensors_of(batch.inputs)]
        return as_matrix(outputs, batch.size)

    def check_independent(self, batch: Batch, outputs: Tensor, *, first: bool) -> None:
        """Refuse data in several batches if a sample's outputs depend on the others of its batch.

        A model whose samples depend on each other, such as a graph network, still has a risk of a single batch, so this
        is looked at when a second batch comes.

        Args:
            batch: A batch of a pass.
            outputs: Of the batch, ``[B, C]``.
            first: Whether it is the first of the pass.

        Raises:
            NotDeterministic: If they do.
        """
        if first and batch.size > _FEW:
            self._few = (batch.take(slice(0, _FEW)), outputs[:_FEW].clone())
        elif not first and self._few is not None and not self._independent:
            few, together = self._few
            self._few = None
            if not self._agrees(few, together):
                raise NotDeterministic(
                    "the outputs of a sample depend on the other samples of its batch (statistics of the batch?), so "
                    "the risk would depend on how the data is cut; pass all samples as one batch, or change the model"
                )
            self._independent = True

    def _agrees(self, few: Batch, together: Tensor) -> bool:
        try:
            with torch.no_grad():
                alone = self.exact(self.call(few, self.parameters))
        except Exception:  # noqa: BLE001 - whatever a model may raise
            # What cannot be evaluated alone has been cut wrongly here: the samples are not the first dimension.
            return True
        if not together.isfinite().all():
            return True
        return float((alone - together).abs().max()) <= _ROUNDING * float(together.abs().max())

    def exact(self, outputs: Tensor) -> Tensor:
        """Return outputs detached, in float64 (on the CPU where the device has no float64)."""
        outputs = outputs.detach()
        return outputs.cpu().double() if self.device.type == "mps" else outputs.double()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses of single samples in float64, shape ``[B]``."""
        precise = self.exact(outputs)
        return self.loss.values(precise, targets.to(precise.device))

    def check_same(self, mean_loss: float) -> None:
        """Take note of the mean loss of a pass.

        Raises:
            NotDeterministic: If an earlier pass had another one.
        """
        if self._mean_loss is None:
            self._mean_loss = mean_loss
        elif abs(mean_loss - self._mean_loss) > 1e-5 * max(abs(self._mean_loss), 1e-6):
            raise NotDeterministic(
                f"the mean loss was {self._mean_loss:.8g} in one pass over the data and {mean_loss:.8g} in another; "
                "measure on fixed data, without random augmentation"
            )

    def _detached(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        tensor = (tensor.clone() if tensor.is_inference() else tensor).detach()
        return self.laid_out(tensor.to(self.device, dtype))

    def is_of_layout(self, error: BaseException) -> bool:
        """Tell whether an error says that the model cannot do without contiguous tensors: ``x.view(len(x), -1)``."""
        return self._layout is torch.channels_last and "view size is not compatible" in str(error)

    def give_up_layout(self, error: RuntimeError) -> bool:
        """Go back to contiguous tensors if an error says that the model cannot do without."""
        if not self.is_of_layout(error):
            return False
        self._lay_out_contiguous()
        return True

    def _lay_out_contiguous(self) -> None:
        self._layout = torch.contiguous_format
        self.parameters = {name: self.laid_out(p) for name, p in self.parameters.items()}

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the memory format that is right and fast for this model; its values are the same."""
        return laid_out(tensor, self._layout)
