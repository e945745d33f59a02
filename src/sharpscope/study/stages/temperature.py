"""The temperature of a calibrated twin: what the logits are divided by."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.safety.temperature import cross_fitted, fitted
from sharpscope.spec import Run
from sharpscope.store.record import TEMPERATURE
from sharpscope.store.snapshots import CALIBRATED, base_of, twin_of
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work

_FACTS = {
    "kind": "training",
    "label": "Temperature",
    "unit": "",
    "scale": "ratio",
    "summary": "What the logits are divided by so that the negative log-likelihood of the calibration split is least",
    "caveats": [
        "Where the data have no calibration split, it is fitted to one half of the test set and used on the other, "
        "several times over; this is the geometric mean, at which the measures are taken then."
    ],
}


@STAGES.register(TEMPERATURE)
class TemperatureStage(Stage):
    """The temperature at which a snapshot is best calibrated."""

    # It makes the weights of the twin out of those of its snapshot.
    needs = "weights"
    gives = "weights"
    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the temperature of a calibrated twin."""
        return super().wanted(requested, snapshot) if twin_of(snapshot) == CALIBRATED else {}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return the temperature, and whether it was found within its bounds."""
        if twin_of(snapshot) != CALIBRATED:
            return []
        return [
            Column(self.name, self.name, ("values", self.name), facts=_FACTS),
            Column(self.name, self.name, ("converged",), "_converged", "boolean"),
        ]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Fit the temperature to the calibration split, or else to halves of the test set."""
        base = base_of(snapshot)
        held = work.calibration(base)
        fit = cross_fitted(work.predictions(base).test) if held is None else fitted(held)
        entry = {
            "values": {self.name: fit.temperature},
            "converged": fit.converged,
            # A twin without a temperature is a moment that the training did not come to.
            "reached": fit.converged,
            "fitted_to": "halves of the test set" if held is None else f"{len(held.targets)} samples held out",
            "halves": [list(pair) for pair in fit.halves],
        }
        return {self.name: StageResult(entry)}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the forward passes over the calibration split."""
        calibration = timing.dataset(run).calibration
        return 0.0 if calibration is None else len(left) * timing.forward(run) * len(calibration.targets)
