"""The empirical risk: the one owner of the number of samples and of reduction.

No measure loops over batches by its own rules, so no result depends on how the data is cut into batches; and
whatever is measured, the model is left bit for bit as it was.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.calls import Calls
from sharpscope.curvature.risk.custom_losses import resolve_loss
from sharpscope.curvature.risk.first_look import FirstLook, Known
from sharpscope.curvature.risk.fitting import outputs_of_few
from sharpscope.curvature.risk.guards import guarded
from sharpscope.curvature.risk.independence import Independence
from sharpscope.curvature.risk.losses import Loss
from sharpscope.curvature.risk.network import Forward, as_matrix, device_of, refuse_unfit, unwrapped
from sharpscope.curvature.risk.point import Parameters, Point
from sharpscope.curvature.risk.reach import FEW, Reach
from sharpscope.curvature.risk.samples import Samples
from sharpscope.curvature.risk.twin_memory import TwinMemory
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream


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
        twins: What is kept for, or was kept of, a model whose outputs are these times a temperature; None for nothing.
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
        self.model = unwrapped(model)
        refuse_unfit(self.model)
        self.loss: Loss = resolve_loss(loss)
        self.device = torch.device(device) if device is not None else device_of(self.model)
        self.stream = stream or Stream(0, "risk")
        self.rtol = rtol
        self.init = init
        self.head = head
        self.reach = Reach()
        self.twins: TwinMemory | None = None
        self._point = Point(self.model, self.device)
        self._calls = Calls(self.model, forward, self.device)
        self._samples = Samples(batches)
        self._independence = Independence()
        self._looked_at = False
        self._first: Known | None = None
        self._entered: list[contextlib.ExitStack] = []

    @property
    def parameters(self) -> Parameters:
        """The parameters by name, each tied parameter once, detached, and where they are computed with."""
        return self._point.parameters

    @property
    def parameter_count(self) -> int:
        """P, each tied parameter once."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def samples(self) -> int:
        """N; 0 before the first pass over the data."""
        return self._samples.count

    @property
    def ordered(self) -> bool:
        """Whether every pass certainly has the same batches in the same order."""
        return self._samples.ordered

    @property
    def precise(self) -> torch.dtype:
        """The precision of sums: float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def with_loss(self, loss: Loss) -> Risk:
        """Return the risk of the same model on the same samples under another loss."""
        other = self._copy()
        other.loss = loss
        return other

    def at(self, parameters: Parameters) -> Risk:
        """Return the risk of the same model and samples at other parameters."""
        return self._at(self._point.at(parameters))

    def in_double(self) -> Risk:
        """Return the risk of the same model and samples in float64."""
        return self._at(self._point.in_double())

    def on(self, batches: Iterable[Batch], *part: int | str) -> Risk:
        """Return the risk on other samples, with the random stream of that part."""
        other = self._copy()
        other._samples, other.stream, other.twins = Samples(batches), self.stream.child(*part), None
        other._fit_loss()
        return other

    def _at(self, point: Point) -> Risk:
        other = self._copy()
        other._point, other._first, other.twins = point, None, None
        return other

    def _copy(self) -> Risk:
        """Return a risk that knows of the model what this one does, and has seen no loss."""
        other = copy.copy(self)
        other._samples, other._independence = copy.copy(self._samples), copy.copy(self._independence)
        other._samples.mean_loss = None
        return other

    @property
    def additive(self) -> bool:
        """Whether a sample's loss is the same whatever other samples there are."""
        return self.loss.additive

    def _fit_loss(self) -> None:
        """Let a loss of the user's own be looked at, and one that divides by weights see all targets, in a pass."""
        self.loss = self.loss.fitted(lambda: outputs_of_few(self), self._samples.targets())

    def __enter__(self) -> Risk:
        with contextlib.ExitStack() as stack:
            stack.enter_context(guarded(self.model, self.device))
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
        for batch in self._samples:
            batch = batch.to(self.device, self._point.input_dtype)
            self._look_at(batch)
            yield batch.map(self.laid_out)

    def _look_at(self, batch: Batch) -> None:
        """Look once at what the model does inside, on a few samples, or on all where it cannot do without."""
        if self._looked_at:
            return
        self._looked_at = True
        look = FirstLook(self._calls.caller, self.parameters, self._point.buffers, self.stream)
        self._first = look.look(batch, FEW)
        if look.wants_channels_first:
            self._point.lay_out_contiguous()

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
        return self._calls.outputs(batch, self._point_at(parameters))

    def outputs_at(self, batch: Batch, points: Sequence[Parameters]) -> Tensor:
        """Return the model's outputs ``[K, B, C]`` without gradients at each of K points.

        Small models are evaluated at several points side by side: the rounding of the outputs is then the same at all
        points that are given together, and not that of ``outputs``.

        Raises:
            SharpscopeError: As ``outputs``.
        """
        places = [self._point_at(parameters) for parameters in points]
        with torch.no_grad():
            stacked = self._calls.stacked(batch, places) if len(points) > 1 else None
            return torch.stack([self._calls.outputs(batch, place) for place in places]) if stacked is None else stacked

    def call(self, batch: Batch, parameters: Parameters) -> Tensor:
        """Return the outputs ``[B, C]`` like ``outputs``, unchecked for randomness: fit for function transforms."""
        return self._calls.unchecked(batch, self._point_at(parameters))

    def _point_at(self, parameters: Parameters | None) -> Point:
        return self._point.at(parameters) if parameters else self._point

    def check_independent(self, batch: Batch, outputs: Tensor, *, first: bool) -> None:
        """Refuse data in several batches if a sample's outputs depend on the others of its batch.

        Args:
            batch: A batch of a pass.
            outputs: Of the batch, ``[B, C]``.
            first: Whether it is the first of the pass.

        Raises:
            NotDeterministic: If they do.
        """
        self._independence.check(batch, outputs, self._evaluate_alone, first=first)

    def _evaluate_alone(self, batch: Batch) -> Tensor:
        return self.exact(self.call(batch, self.parameters))

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
        self._samples.check_same(mean_loss)

    def is_of_layout(self, error: BaseException) -> bool:
        """Tell whether an error says that the model cannot do without contiguous tensors: ``x.view(len(x), -1)``."""
        return self._point.is_of_layout(error)

    def give_up_layout(self, error: RuntimeError) -> bool:
        """Go back to contiguous tensors if an error says that the model cannot do without."""
        if not self.is_of_layout(error):
            return False
        self._point.lay_out_contiguous()
        return True

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the memory format that is right and fast for this model; its values are the same."""
        return self._point.laid_out(tensor)
