"""What each test sample adds to scores, so that a report can tell what other test samples would change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sharpscope.errors import FAULTS
from sharpscope.safety import SCORES
from sharpscope.spec import Run
from sharpscope.store.record import BY_SAMPLE
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


@STAGES.register(BY_SAMPLE)
class BySampleStage(Stage):
    """What each test sample adds to the scores that are means over the test set, at the end of the training."""

    needs = "predictions"
    stamps_conditions = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return a result for each such score, by its column; those that every ledger has are among them."""
        if snapshot != END:
            return {}
        aliases = requested.task.aliases
        scores = {column: RequestedValue(name, version=SCORES[name].version) for name, column in aliases.items()}
        # A score under a key of its own has a column of that name, whatever else is called so.
        scores |= {aliases.get(k, k) if wanted.name == k else k: wanted for k, wanted in requested.scores.items()}
        return {
            key: {**wanted.stamp("score"), "stage": self.version}
            for key, wanted in scores.items()
            if SCORES[wanted.name].facts.by_sample is not None
        }

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: the scores are columns of their own."""
        return []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return an array a score: truth values, or numbers in single precision."""
        predictions, found = work.predictions(snapshot), {}
        for key, stamp in missing.items():
            wanted = RequestedValue.of(stamp, "score")
            try:
                work.check_made(wanted.reads)
                values = SCORES[wanted.name].facts.by_sample(predictions.limited_to(wanted.reads), **wanted.options)
            except FAULTS as error:
                work.fail(snapshot, key, error)
            else:
                found[key] = StageResult(arrays={key: values if values.dtype == bool else values.astype(np.float32)})
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return nothing: beside all else it takes no time."""
        return 0.0

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of a number in single precision for each score and test sample."""
        scores = self.wanted(timing.plan.requested, END)
        return {"what test samples add to scores": 4 * len(scores) * len(timing.dataset(run).test_inputs)}
