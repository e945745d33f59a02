"""What a reliability diagram shows of a run, so that a report need not read its predictions."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.safety.diagram import diagram
from sharpscope.spec import Run
from sharpscope.store.record import RELIABILITY
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


@STAGES.register(RELIABILITY)
class Reliability(Stage):
    """Bins of confidence with accuracies, at the end of the training of a classifier."""

    needs = "predictions"

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the diagram at the end, where predictions come with a confidence."""
        return super().wanted(requested, snapshot) if snapshot == END and requested.task.classes else {}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: the scores of calibration are columns of their own."""
        return []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return the diagram of the test set."""
        return {self.name: StageResult(diagram(work.predictions(snapshot).test))}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return nothing: beside all else it takes no time."""
        return 0.0
