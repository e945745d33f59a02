"""How a run fares under each condition, so that a report need not read its predictions."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.errors import DataError
from sharpscope.safety.by_condition import by_condition
from sharpscope.spec import Run
from sharpscope.store.record import BY_CONDITION
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import CONDITIONS, Stamp
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


@STAGES.register(BY_CONDITION)
class ByConditionStage(Stage):
    """Accuracy, negative log-likelihood, calibration error and Brier score by condition and severity."""

    needs = "predictions"
    stamps_conditions = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the table at the end, where a classifier is asked under conditions."""
        if snapshot != END or not requested.task.classes or not requested.conditions:
            return {}
        return {self.name: {"version": self.version, CONDITIONS: dict(requested.conditions)}}

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
        return {self.name: StageResult({**by_condition(work.predictions(snapshot)), CONDITIONS: made})}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return nothing: beside all else it takes no time."""
        return 0.0
