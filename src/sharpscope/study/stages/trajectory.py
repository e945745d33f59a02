"""Measures along the training, of the weights that it had after some of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sharpscope.spec import Run
from sharpscope.store.record import TRAJECTORY
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.stages.measure import seconds_of
from sharpscope.study.work.measuring import measure_clean
from sharpscope.study.work.outputs import predictions_of
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.watching import watched_steps
from sharpscope.study.work.work import Work
from sharpscope.training import Recipe


@STAGES.register(TRAJECTORY)
class TrajectoryStage(Stage):
    """What is measured after each watched step: a table with a row for each."""

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the table, where a study watches its trainings."""
        if snapshot != END or not requested.watch:
            return {}
        measures = {key: wanted.stamp("measure") for key, wanted in requested.watched.items()}
        return {self.name: {"version": self.version, "watch": requested.watch, "measures": measures}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: the ledger has one row a run."""
        return []

    def finds_weights(self, work: Work, snapshot: str) -> bool:
        """Return whether the weights along the training can be read."""
        return work.has_watched_weights()

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Measure all of them."""
        requested = {key: RequestedValue.of(stamp, "measure") for key, stamp in missing[self.name]["measures"].items()}
        model = work.initial_model()
        init = {name: tensor.clone() for name, tensor in model.named_parameters()}
        model = model.to(work.device).eval()
        rows = []
        for step, weights in work.watched_weights().items():
            model.load_state_dict(weights)
            found = measure_clean(model, work.dataset, requested, work.run.seed, init, work.device)
            for key, error in found.failed.items():
                work.note(f"{key} after step {step} could not be had ({error})", "its trajectory lacks it")
            row: dict[str, Any] = {"step": step, **predictions_of(model, work.dataset, work.device).basics()}
            for key in requested:
                estimate = found.get(key)
                row[key] = math.nan if estimate is None else float(estimate.value)
                row[f"{key}_stderr"] = math.nan if estimate is None else float(estimate.stderr)
            rows.append(row)
        columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
        return {self.name: StageResult(table=columns)}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of measuring so many times."""
        recipe, samples = Recipe.from_spec(run.training, run.regime), len(timing.dataset(run).train_targets)
        looks = len(watched_steps(timing.plan.wanted, recipe, samples))
        stamps = [stamp for keys in left.values() for stamp in keys.values()]
        return looks * sum(seconds_of(timing, run, stamp["measures"]) for stamp in stamps)
