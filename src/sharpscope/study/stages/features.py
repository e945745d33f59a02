"""What the heads of runs are given for test samples, for scores of pairs that compare representations."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.errors import FAULTS
from sharpscope.safety import SCORES
from sharpscope.safety.registry import FEATURES, INITIAL_FEATURES
from sharpscope.spec import Run
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.features import MOST, head_inputs, samples_of
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import FIRST, Timing
from sharpscope.study.work.work import Work


@STAGES.register(FEATURES)
class FeaturesStage(Stage):
    """What the head is given for up to 2,000 test samples, at the end of the training and before it."""

    needs = "weights"

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the features at the end where a score of pairs reads them, and those before the training."""
        if snapshot != END:
            return {}
        read = {name for wanted in requested.pair_scores.values() for name in SCORES[wanted.name].facts.features}
        return {name: {"version": self.version} for name in sorted(read)}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: they are read by scores of pairs."""
        return []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return an array for each."""
        samples, found = samples_of(work.dataset), {}
        for name in missing:
            model = work.initial_model().to(work.device).eval() if name == INITIAL_FEATURES else work.model(snapshot)
            found[name] = StageResult(arrays={name: head_inputs(model, samples, work.device)})
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of forward passes over the samples."""
        passes = sum(len(keys) for keys in left.values())
        return passes * timing.forward(run) * min(MOST, len(timing.dataset(run).test_inputs))

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of the features in single precision."""
        wanted = self.wanted(timing.plan.requested, END)
        if not wanted:
            return {}
        kind = run.model.model_dump_json() + run.data.model_dump_json()
        size = timing.once(f"features {kind}", lambda: _bytes_of(timing, run))
        samples = min(MOST, len(timing.dataset(run).test_inputs))
        return {"features of test samples": len(wanted) * samples * int(size)}


def _bytes_of(timing: Timing, run: Run) -> float:
    """Return the bytes of the features of a sample."""
    try:
        few = head_inputs(timing.model(run).eval(), samples_of(timing.dataset(run), FIRST), timing.device)
    except FAULTS:
        return 0.0  # which the run will tell: it has no such features
    return float(few[0].nbytes)
