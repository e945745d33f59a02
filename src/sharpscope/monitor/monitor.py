"""A callback that measures a model while it trains, and changes nothing of its training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.network import Forward, device_of, unwrapped
from sharpscope.curvature.risk.raw_data import whole_number
from sharpscope.errors import NotDefined, SharpscopeError, one_line
from sharpscope.measurement import Asked, Measurements, measure_risk, resolve_measures, told_together
from sharpscope.monitor.overhead import Overhead
from sharpscope.monitor.samples import fixed_samples
from sharpscope.monitor.trajectory import Trajectory
from sharpscope.seeding import Stream

if TYPE_CHECKING:
    import pandas as pd

# Whatever is raised while a model is measured, by its own code too, is a reason to note and none to stop a training.
_NOTED = (Exception,)


class SharpnessMonitor:
    """Measures a model every few steps of its training, always on the same samples with the same random numbers.

    The samples are drawn once, when the monitor is made, and kept in memory. What is measured at a step is what
    ``sharpscope.measure`` would find for them then, and the training goes on as if it had not been watched:
    parameters, buffers, modes, gradients, the global random state and a loader's own are left bit for bit. Whatever
    fails while it measures, or in ``on_record``, is told in a warning and stops no training. What distributes or
    compiles a model is looked through; parameters that are sharded over processes cannot be measured.

    Args:
        data: Samples as for ``sharpscope.measure``, without random augmentation.
        measures: Names, or keys with options, as for ``sharpscope.measure``. The cheap exact ones when None; those
            that turn out not to be defined for the model are then left out with a warning.
        every: Steps from one measurement to the next.
        subset: At most this many samples, drawn by ``seed``; all when None. Standard errors do not hold the error of
            this choice, which is the same at every step.
        batch_size: Samples evaluated at a time; bounds the memory, as in ``sharpscope.measure``.
        loss: As for ``sharpscope.measure``.
        forward: As for ``sharpscope.measure``.
        head: As for ``sharpscope.measure``.
        rtol: As for ``sharpscope.measure``.
        init: The parameters before training by name, for measures of the distance from them.
        seed: The seed of all randomness.
        max_overhead: A share of the time since the first step: a measurement that would lead beyond it is skipped and
            counted, so that what is recorded then depends on the speed of the machine. No limit when None.
        on_record: Called with the step and what was measured, after each measurement.

    Attributes:
        skipped: How many measurements were skipped for ``max_overhead``.

    Raises:
        SharpscopeError: For an unknown measure or option, any other argument that does not fit, or unfit data.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 3)
        >>> inputs, targets = torch.randn(64, 2), torch.randint(0, 3, (64,))
        >>> monitor = SharpnessMonitor((inputs, targets), ["gradient_norm", "parameter_norm"], every=10)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> for step in range(31):
        ...     _ = monitor.step(model, step)
        ...     optimizer.zero_grad()
        ...     nn.functional.cross_entropy(model(inputs), targets).backward()
        ...     optimizer.step()
        >>> list(monitor.to_frame(wide=True).index)
        [0, 10, 20, 30]
    """

    def __init__(
        self,
        data: Any,
        measures: Asked | None = None,
        *,
        every: int = 100,
        subset: int | None = 256,
        batch_size: int | None = None,
        loss: str | Callable[..., Any] = "cross_entropy",
        forward: Forward | None = None,
        head: nn.Linear | str | None = None,
        rtol: float | None = None,
        init: Mapping[str, Tensor] | None = None,
        seed: int = 0,
        max_overhead: float | None = None,
        on_record: Callable[[int, Measurements], object] | None = None,
    ) -> None:
        _refuse_unfit(head, init, on_record)
        self._every = whole_number("every", every, 1)
        # The streams of sharpscope.measure, so that it finds the same numbers.
        stream = Stream(whole_number("seed", seed), "measure")
        self._asked = {key: {"measure": name, **given} for key, (name, given) in resolve_measures(measures).items()}
        self._by_default = measures is None
        self._samples = fixed_samples(data, batch_size=batch_size, subset=subset, stream=stream.child("subset"))
        self._settings: dict[str, Any] = {"loss": loss, "forward": forward, "head": head, "rtol": rtol, "init": init}
        self._stream = stream.child("estimators")
        self._risk_of(nn.LayerNorm(1))  # any model will do to see that the settings fit
        self._on_record = on_record
        self._record = Trajectory()
        self._overhead = Overhead(max_overhead)
        self._last_step: int | None = None
        self._warned: set[str] = set()
        self.skipped = 0

    def step(self, model: nn.Module, step: int) -> Measurements | None:
        """Tell the monitor of a step, and measure if it is time: at each multiple of ``every``, or the first step past.

        Args:
            model: The model as it is now.
            step: How many steps the training has made; a step told twice counts once.

        Returns:
            What was measured; None if it was not time.

        Raises:
            SharpscopeError: If ``model`` is no module, or ``step`` no whole number of at least 0.
        """
        step = _checked(model, step)
        self._overhead.look()
        previous, self._last_step = self._last_step, step
        due = step % self._every == 0 if previous is None else step // self._every > previous // self._every
        if not due:
            return None
        if not self._overhead.affords_another():
            self.skipped += 1
            return None
        return self.record(model, step)

    def record(self, model: nn.Module, step: int) -> Measurements:
        """Measure now, whether or not it is time, such as after the last step.

        Args:
            model: The model as it is now.
            step: How many steps the training has made.

        Returns:
            What was measured, without what failed.

        Raises:
            SharpscopeError: As ``step``.
        """
        step = _checked(model, step)
        self._overhead.look()
        network = unwrapped(model)
        with self._overhead.measuring(device_of(network)):
            found = self._measure(network)
        self._leave_out_undefined(found.failed)
        failed = {key: one_line(error) for key, error in found.failed.items()}
        self._record.add(step, found, failed, self._overhead.latest)
        self._warn_of_failures(step, failed)
        self._tell(step, found)
        return found

    def to_frame(self, *, wide: bool = False) -> pd.DataFrame:
        """Return the record as a table.

        Args:
            wide: One row a step, with columns ``key`` and ``key_stderr``; else one row a step and measure: step, key,
                value, stderr, converged, seconds (of all measures of the step together) and reason (of a failure).

        Returns:
            The table, in the order of the steps recorded.

        Raises:
            SharpscopeError: If pandas is not installed.
        """
        return self._record.to_frame(wide=wide)

    def to_csv(self, path: str | Path, *, wide: bool = False) -> None:
        """Write the table as CSV, whole or not at all."""
        self._record.to_csv(path, wide=wide)

    def to_parquet(self, path: str | Path, *, wide: bool = False) -> None:
        """Write the table as Parquet, whole or not at all."""
        self._record.to_parquet(path, wide=wide)

    @property
    def overhead(self) -> float:
        """The share of the time between the first step and the last that was spent measuring, from 0 to 1."""
        return self._overhead.share

    def state_dict(self) -> dict[str, Any]:
        """Return the record and the clock as plain values, for a checkpoint."""
        return {
            "rows": self._record.state_dict(),
            "overhead": self._overhead.state_dict(),
            "last_step": self._last_step,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the record of a training that goes on.

        Args:
            state: What ``state_dict`` returned.

        Raises:
            SharpscopeError: If it is anything else; the monitor is left as it was.
        """
        record, overhead = Trajectory(), copy.copy(self._overhead)
        try:
            record.load_state_dict(state["rows"])
            overhead.load_state_dict(state["overhead"])
            last_step, skipped = state["last_step"], state["skipped"]
        except (KeyError, TypeError) as error:
            raise SharpscopeError(
                f"the state must be what state_dict() of a SharpnessMonitor returned, got {state!r:.100} "
                f"({one_line(error)})"
            ) from error
        self._record, self._overhead, self._last_step, self.skipped = record, overhead, last_step, skipped

    def __repr__(self) -> str:
        samples = sum(batch.size for batch in self._samples)
        steps = len({row.step for row in self._record.rows})
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return (
            f"SharpnessMonitor({', '.join(self._asked)}; every {self._every} steps on {samples} samples; "
            f"{steps} steps recorded{skipped}; {self.overhead:.1%} of the time)"
        )

    def _risk_of(self, network: nn.Module) -> Risk:
        return Risk(network, self._samples, stream=self._stream, **self._settings)

    def _measure(self, network: nn.Module) -> Measurements:
        try:
            return measure_risk(self._risk_of(network), self._asked, noted=_NOTED)
        except _NOTED as error:
            # What no measure can do without says nothing of which of them are defined.
            return Measurements({}, dict.fromkeys(self._asked, SharpscopeError(one_line(error))))

    def _tell(self, step: int, found: Measurements) -> None:
        if self._on_record is None:
            return
        try:
            self._on_record(step, found)
        except Exception as error:  # noqa: BLE001 - whatever a function of the user's may raise
            warnings.warn(f"on_record failed at step {step}: {one_line(error)}; the training goes on", stacklevel=4)

    def _leave_out_undefined(self, failed: dict[str, BaseException]) -> None:
        """Drop what nobody asked for by name and is not defined for this model, now and from failures to note."""
        undefined = [key for key, error in failed.items() if isinstance(error, NotDefined)]
        if not self._by_default or not undefined:
            return
        reasons = {key: str(failed.pop(key)) for key in undefined}
        for key in undefined:
            del self._asked[key]
        warnings.warn(f"left out of the default measures: {told_together(reasons)}", stacklevel=4)

    def _warn_of_failures(self, step: int, failed: Mapping[str, str]) -> None:
        news = {key: reason for key, reason in failed.items() if key not in self._warned}
        if news:
            self._warned |= news.keys()
            warnings.warn(
                f"not measured at step {step}: {told_together(news)}; the training goes on, and further failures of "
                "the same measures are noted in the record alone",
                stacklevel=4,
            )


def _refuse_unfit(head: object, init: object, on_record: object) -> None:
    """Refuse arguments of the wrong kind that a measurement would find out at a step of the training."""
    if not isinstance(head, nn.Linear | str | None):
        raise SharpscopeError(f"head must be a linear layer (nn.Linear) or its name, got {type(head).__name__}")
    named = isinstance(init, Mapping) and all(isinstance(value, Tensor) for value in init.values())
    if init is not None and not named:
        raise SharpscopeError(
            f"init must be a mapping of names to tensors, such as a state_dict(), got {type(init).__name__}"
        )
    if on_record is not None and not callable(on_record):
        raise SharpscopeError(f"on_record must be a callable (step, measurements), got {type(on_record).__name__}")


def _checked(model: object, step: object) -> int:
    """Return the step as a number, having seen that both arguments are what they should be."""
    if not isinstance(model, nn.Module):
        raise SharpscopeError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    return whole_number("step", step, 0)
