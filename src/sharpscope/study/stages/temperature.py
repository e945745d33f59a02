"""The temperature of a twin: what the logits are divided by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sharpscope.safety.temperature import Fit, as_sure, cross_fitted, entropy, fitted
from sharpscope.spec import Run
from sharpscope.store.record import TEMPERATURE
from sharpscope.store.snapshots import CALIBRATED, MATCHED, base_of, twin_of
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


def _calibrated(work: Work, base: str) -> StageResult:
    """Fit the temperature to the calibration split, or else to halves of the test set."""
    held = work.calibration(base)
    if held is None:
        return _found(cross_fitted(work.predictions(base).test), "halves of the test set")
    return _found(fitted(held), f"{len(held.targets)} samples held out")


def _matched(work: Work, base: str) -> StageResult:
    """Find the temperature at which the model is as sure as that of the reference level of its seed and setting."""
    reference = work.reference(base)
    if reference is None:
        return _found(Fit(math.nan, converged=False), "a reference that did not come so far")
    wanted = entropy(reference.predictions(base).train)
    fit = as_sure(work.predictions(base).train, wanted)
    return _found(fit, f"the entropy of run {reference.folder.run_id} on its training data")


def _found(fit: Fit, fitted_to: str) -> StageResult:
    return StageResult(
        {
            "values": {TEMPERATURE: fit.temperature},
            "converged": fit.converged,
            # A twin without a temperature is a moment that the training did not come to.
            "reached": fit.converged,
            "fitted_to": fitted_to,
            "halves": [list(pair) for pair in fit.halves],
        }
    )


@dataclass(frozen=True)
class _Twin:
    """How the temperature of a twin is found, and what a report tells of it."""

    find: Callable[[Work, str], StageResult]
    summary: str
    caveats: tuple[str, ...] = ()


_TWINS = {
    CALIBRATED: _Twin(
        _calibrated,
        "What the logits are divided by so that the negative log-likelihood of the calibration split is least",
        (
            "Where the data have no calibration split, it is fitted to one half of the test set and used on the other, "
            "several times over; this is the geometric mean, at which the measures are taken then.",
        ),
    ),
    MATCHED: _Twin(
        _matched,
        "What the logits are divided by so that the mean entropy on the training data is that of the reference level",
    ),
}


# Version 1 took a place on the plateau of a split that is all right for a temperature.
@STAGES.register(TEMPERATURE, version=2)
class TemperatureStage(Stage):
    """The temperature of each twin of a snapshot."""

    # It makes the weights of the twin out of those of its snapshot.
    needs = "weights"
    gives = "weights"
    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the temperature of a twin, with what it is compared with where that determines it."""
        twin = twin_of(snapshot)
        if not twin:
            return {}
        compared = dict(requested.compared) if twin == MATCHED else {}
        return {self.name: {"version": self.version, **compared}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return the temperature, and whether it was found within its bounds."""
        twin = _TWINS.get(twin_of(snapshot))
        if twin is None:
            return []
        told = {"kind": "training", "label": "Temperature", "unit": "", "scale": "ratio", "summary": twin.summary}
        return [
            Column(self.name, self.name, ("values", self.name), facts={**told, "caveats": list(twin.caveats)}),
            Column(self.name, self.name, ("converged",), "_converged", "boolean"),
        ]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Find the temperature."""
        return {self.name: _TWINS[twin_of(snapshot)].find(work, base_of(snapshot))}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the forward passes over the calibration split."""
        calibration = timing.dataset(run).calibration
        passes = sum(twin_of(snapshot) == CALIBRATED for snapshot in left)
        return 0.0 if calibration is None else passes * timing.forward(run) * len(calibration.targets)
