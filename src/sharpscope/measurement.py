"""``sharpscope.measure``: every measure of a model, together, with the fewest passes over its data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, Definitions, Kinds, Measured, run_together
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, Batches, left_alone
from sharpscope.curvature.risk.failures import failures_told
from sharpscope.curvature.risk.network import Forward, device_of
from sharpscope.curvature.risk.random_state import random_state_kept
from sharpscope.curvature.risk.raw_data import told, whole_number
from sharpscope.curvature.risk.reach import Reach
from sharpscope.curvature.sampling import sampling_errors
from sharpscope.errors import NotDefined, SharpscopeError, SpecError, UnknownName, by_reason
from sharpscope.extras import installed, optional
from sharpscope.seeding import Stream

if TYPE_CHECKING:
    import pandas as pd

Asked = Sequence[str] | Mapping[str, Mapping[str, Any] | None]


class Measurements(Mapping[str, Estimate]):
    """Estimates by the keys they were asked under, in that order.

    Args:
        estimates: By key.
        failed: By key, too.

    Attributes:
        failed: What was raised in the place of the measures that are left out.
    """

    def __init__(self, estimates: Mapping[str, Estimate], failed: Mapping[str, BaseException] | None = None) -> None:
        self._estimates = dict(estimates)
        self.failed = dict(failed or {})

    def __getitem__(self, key: str) -> Estimate:
        if key not in self._estimates:
            raise KeyError(f"'{key}' was not measured; measured were {', '.join(self._estimates)}")
        return self._estimates[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._estimates)

    def __len__(self) -> int:
        return len(self._estimates)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a measure: value, stderr, samples, converged.

        Raises:
            SharpscopeError: If pandas is not installed.
        """
        pd = optional("pandas", "study", "to_frame", SharpscopeError)
        rows = [{"measure": k, **{f: v for f, v in asdict(e).items() if f != "details"}} for k, e in self.items()]
        columns = ["measure", "value", "stderr", "samples", "converged"]
        return pd.DataFrame(rows, columns=columns).set_index("measure")

    def to_json(self) -> str:
        """Return all estimates with their details; numbers that are not finite become null."""
        return json.dumps({key: _finite(asdict(e)) for key, e in self.items()}, indent=2)

    def __repr__(self) -> str:
        width = max((len(key) for key in self), default=0)
        return "\n".join(f"{key:<{width}}  {estimate}" for key, estimate in self.items())

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("measure", "value", "standard error", "samples", "")
        for key, e in self.items():
            table.add_row(
                key, f"{e.value:.6g}", f"{e.stderr:.2g}", str(e.samples), "" if e.converged else "not converged"
            )
        return table

    def _repr_html_(self) -> str | None:
        # A notebook shows the plain form where this is None.
        return self.to_frame().to_html(float_format="{:.6g}".format) if installed("pandas") else None


def measure(
    model: nn.Module,
    data: Any,
    measures: Asked | None = None,
    *,
    loss: str | Callable[..., Any] = "cross_entropy",
    forward: Forward | None = None,
    head: nn.Linear | str | None = None,
    batch_size: int | None = None,
    subset: int | None = None,
    rtol: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Measurements:
    """Measure the sharpness of a model at its parameters, on the data given.

    The model is put in eval mode for the call and left bit for bit as it was: parameters, buffers, modes, gradients,
    ``requires_grad`` and the global random state. All measures share their passes over the data.

    Args:
        model: Any module with outputs of shape ``[B, C]``, or something that holds such logits.
        data: A re-iterable of batches (inputs, targets), or of mappings with "labels"; a Dataset; a pair of tensors or
            arrays (inputs, targets); or one mapping with "labels".
        measures: Names; or a mapping of keys to options, where the option "measure" names a measure other than the key.
            The cheap exact ones when None; those that are not defined for this model, loss or data, such as measures of
            the head of a model without one, are then left out with a warning that says why.
        loss: "cross_entropy", "mse", a loss module, whose own mean over all data is meant, or a callable (outputs,
            targets) -> losses of shape ``[B]``.
        forward: A callable (model, inputs) -> outputs, for models with their own signature.
        head: The final linear layer or its name; found by itself when None.
        batch_size: Samples evaluated at a time; bounds the memory, but for the graphs of other batches that curvature
            matrices keep between passes, which take at most 256 MB.
        subset: At most this many samples, drawn by ``seed``; the standard error then contains that of the subset, its
            bias included, from measuring random groups of it, which doubles the cost.
        rtol: The relative standard error asked of estimators, which then draw until it is reached or their budget is
            spent; their fixed budgets when None.
        seed: The seed of all randomness.
        device: Where to compute; where the model is when None.
        progress: Print a line before each pass over the data.

    Returns:
        The estimates by key.

    Raises:
        SharpscopeError: For an unknown measure or option, unfit data, or a model that is random in eval mode.

    Examples:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.randn(8, 2), torch.randint(0, 3, (8,)))]
        >>> sorted(measure(model, data, ["parameter_norm", "gradient_norm"]))
        ['gradient_norm', 'parameter_norm']
    """
    asked = resolve_measures(measures)
    stream = Stream(whole_number("seed", seed), "measure")
    device = _usable(device) if device is not None else device_of(model)
    # Data may draw random numbers when it is first looked at, and tensors made in inference mode have no derivatives.
    with failures_told(), random_state_kept(device), left_alone(data) as own, torch.inference_mode(False):
        batches = Batches(own, batch_size=batch_size, subset=subset, stream=stream.child("subset"))

        def risk_on(samples: Iterable[Batch]) -> Risk:
            return Risk(
                model,
                samples,
                loss=loss,
                forward=forward,
                head=head,
                device=device,
                stream=stream.child("estimators"),
                rtol=rtol,
            )

        groups = stream.child("groups")
        found = measure_batches(batches, risk_on, asked, groups, noted=_noted(measures), progress=progress)
        _warn_of(found.failed)
        return found


def _usable(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # the meta device has no values
    except (RuntimeError, AssertionError, TypeError) as error:
        raise SharpscopeError(
            f"device must be 'cpu', or an accelerator of this machine such as 'cuda' or 'mps', got {device!r} "
            f"({told(error)})"
        ) from error
    return found


def measure_batches(
    batches: Batches,
    risk_on: Callable[[Iterable[Batch]], Risk],
    asked: Mapping[str, tuple[str, dict[str, Any]]],
    groups: Stream,
    *,
    noted: Kinds = (),
    progress: bool = False,
) -> Measurements:
    """Measure batches; where these are a subset of the data, the standard errors hold that of its choice.

    Args:
        batches: What to measure.
        risk_on: Returns the risk on some samples, with the same random numbers each time.
        asked: By key, the name of each measure and all its options.
        groups: Where the groups of a subset are drawn from.
        noted: Kinds of errors that cost no more than the measure that raises them, and are noted in the result.
        progress: Print a line before each pass over the data.
    """
    reach, population = Reach(), batches.population

    def run(samples: Iterable[Batch], steps: Definitions, report: Callable[[int], None] | None = None) -> Measured:
        risk = risk_on(samples)
        risk.reach = reach  # the same model: found, and told of, once
        return run_together(risk, steps, noted=noted, on_pass=report, keep_sums=population is not None)

    measured = run(batches, _steps(asked), _report if progress else None)
    if population is None:
        return Measurements(measured.estimates, measured.failed)
    errors, failed = sampling_errors(measured, run, batches, population, groups, noted)
    of_subset = {key: e.of_subset(errors.get(key), population) for key, e in measured.estimates.items()}
    return Measurements({key: e for key, e in of_subset.items() if key not in failed}, {**measured.failed, **failed})


def measure_risk(
    risk: Risk, measures: Asked | None = None, *, noted: Kinds | None = None, progress: bool = False
) -> Measurements:
    """Measure a risk that its caller has made, for what ``measure`` has no argument for, such as an initialization.

    Args:
        risk: Model, loss and data.
        measures: As in ``measure``.
        noted: Kinds of errors that cost no more than the measure that raises them, and are noted in the result; as in
            ``measure`` when None.
        progress: Print a line before each pass over the data.

    Returns:
        The estimates by key.

    Raises:
        SharpscopeError: As ``measure``, unless it is noted.
    """
    steps, kinds = _steps(resolve_measures(measures)), _noted(measures) if noted is None else noted
    measured = run_together(risk, steps, noted=kinds, on_pass=_report if progress else None)
    if noted is None:
        _warn_of(measured.failed)
    return Measurements(measured.estimates, measured.failed)


def _noted(measures: Asked | None) -> Kinds:
    """Return what costs a measure no more than itself: of the default ones, that it is not defined."""
    return (NotDefined,) if measures is None else ()


def _steps(asked: Mapping[str, tuple[str, dict[str, Any]]]) -> Definitions:
    return {key: (MEASURES[name].function.steps, options) for key, (name, options) in asked.items()}


def resolve_measures(measures: Asked | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return, by key, the name of each measure asked for and all its options.

    Raises:
        UnknownName: If there is no such measure.
        SpecError: If an option is unknown or does not fit; ``loc`` leads to it.
    """
    if measures is None:
        measures = [name for name in MEASURES if MEASURES[name].facts.default]
    if isinstance(measures, str):
        measures = [measures]
    if not isinstance(measures, Iterable):
        raise SharpscopeError(f"measures must be names, or a mapping of keys to options, got {measures!r}")
    if not isinstance(measures, Mapping):
        odd = [entry for entry in measures if not isinstance(entry, str)]
        if odd:
            raise SharpscopeError(
                f"measures must be names, or a mapping of keys to options, got {odd[0]!r}; write {{name: {{option: "
                "value}}} for options"
            )
        measures = dict.fromkeys(measures)
    resolved = {}
    for key, given in measures.items():
        if not isinstance(given, Mapping | None):
            raise SpecError(f"the options of a measure must be a mapping, got {given!r}", (key,))
        options = dict(given or {})
        name = options.pop("measure", key)
        try:
            entry = MEASURES[name]
        except UnknownName as error:
            raise SpecError(str(error), (key,)) from None
        try:
            resolved[key] = (name, entry.complete(options))
        except SpecError as error:
            raise error.within(key) from None
    if not resolved:
        raise SharpscopeError("no measure was asked for; leave measures out for the cheap exact ones")
    return resolved


def _warn_of(failed: Mapping[str, BaseException]) -> None:
    if failed:
        reasons = told_together({key: str(error) for key, error in failed.items()})
        warnings.warn(f"left out of the default measures: {reasons}", stacklevel=3)


def told_together(reasons: Mapping[str, str]) -> str:
    """Return the reasons of several keys as one text, in which each reason is told once.

    >>> told_together({"a": "no head", "b": "no head", "c": "no data"})
    'a, b: no head; c: no data'
    """
    return "; ".join(f"{', '.join(keys)}: {reason}" for reason, keys in by_reason(reasons).items())


def _report(waiting: int) -> None:
    print(f"a pass over the data for {waiting} measure{'s' if waiting > 1 else ''}", flush=True)  # noqa: T201


def _finite(tree: Any) -> Any:
    if isinstance(tree, float):
        return tree if tree - tree == 0 else None
    if isinstance(tree, dict):
        return {k: _finite(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(v) for v in tree]
    return tree
