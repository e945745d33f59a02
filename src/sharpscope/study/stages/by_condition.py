"""How a run fares under each condition, so that a report need not read its predictions."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.data.conditions.applying import facts_of
from sharpscope.errors import DataError
from sharpscope.safety.by_condition import by_condition, mean_of
from sharpscope.spec import Run
from sharpscope.store.record import BY_CONDITION
from sharpscope.store.snapshots import CALIBRATED, END, twin_at, twin_of
from sharpscope.store.wanted import CONDITIONS, Stamp
from sharpscope.study.work.outputs import passes_of_twin
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


@STAGES.register(BY_CONDITION)
class ByConditionStage(Stage):
    """Accuracy, negative log-likelihood, calibration error and Brier score by condition and severity."""

    needs = "predictions"
    stamps_conditions = True
    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the table at the end, where a classifier is asked under conditions; of its calibrated twin likewise.

        The twin is looked at under corruptions alone, of which one asks whether confidence holds.
        """
        conditions = dict(requested.conditions)
        if snapshot == twin_at(END, CALIBRATED):
            conditions = {name: v for name, v in conditions.items() if facts_of(name).kind == "inputs"}
        elif snapshot != END:
            return {}
        if not requested.task.classes or not conditions:
            return {}
        return {self.name: {"version": self.version, CONDITIONS: conditions}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: means over conditions are columns of scores."""
        return []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return the table of all conditions under which predictions could be made."""
        wanted = work.wanted.at(snapshot, self.name)[self.name][CONDITIONS]
        made = {name: version for name, version in wanted.items() if name not in work.unmade}
        try:
            work.check_made(wanted)
        except DataError as error:
            work.fail(snapshot, self.name, error)
        tables = [by_condition(reading.limited_to(made)) for reading in work.readings(snapshot, under=made)]
        return {self.name: StageResult({**mean_of(tables), CONDITIONS: made})}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of evaluating a twin anew, where classes were left out of what is stored."""
        dataset = timing.dataset(run)
        tables = [keys[self.name][CONDITIONS] for at, keys in left.items() if twin_of(at) and self.name in keys]
        passes = sum(passes_of_twin(dataset, conditions) for conditions in tables)
        return timing.forward(run) * passes * len(dataset.test_inputs) if passes else 0.0
