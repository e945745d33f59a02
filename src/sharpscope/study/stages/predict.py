"""Predictions: what the model says about training set and test set, and under conditions of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from sharpscope.data import conditions_of
from sharpscope.errors import FAULTS
from sharpscope.safety import SCORES, SPLITS, Predictions
from sharpscope.spec import Run
from sharpscope.store.run_folder import UNDER_CONDITIONS
from sharpscope.store.snapshots import END, loss_of, twin_of
from sharpscope.store.wanted import CONDITIONS, PREDICTING, UNDER, Stamp
from sharpscope.study.stages.score import facts_of
from sharpscope.study.work.outputs import conditions_among, passes_under, predict_under, predictions_of
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work
from sharpscope.task import Basic

_CLEAN = "predictions"


@STAGES.register(PREDICTING)
class PredictStage(Stage):
    """Predictions, losses and accuracies on both clean splits, and predictions under conditions."""

    needs = "weights"
    gives = "predictions"
    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the clean predictions, and at the end those under all conditions that scores read."""
        if snapshot != END or not requested.conditions:
            return {_CLEAN: {}}
        return {_CLEAN: {}, UNDER: {CONDITIONS: dict(requested.conditions)}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return what every ledger of the task has, and before the end the gap of the splits."""
        task = requested.task
        facts = {
            name: _facts(told) for name, told in task.basics.items() if not (twin_of(snapshot) and told.by_classes)
        }
        if loss_of(snapshot) and not twin_of(snapshot):
            facts[task.gap] = facts_of(task.gap, RequestedValue(task.gap))
        return [Column(name, _CLEAN, ("values", name), facts=told) for name, told in facts.items()]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Predict what is missing: of the conditions those that are not stored, or were of another definition.

        A twin says what its snapshot says, divided by its temperature.
        """
        if twin_of(snapshot):
            basics = [reading.basics() for reading in work.readings(snapshot)]
            return {_CLEAN: StageResult({"values": {name: fmean(b[name] for b in basics) for name in basics[0]}})}
        found = {}
        if _CLEAN in missing:
            clean = predictions_of(work.model(snapshot), work.dataset, work.device)
            found[_CLEAN] = _stored_as(clean, work, snapshot)
        else:
            clean = work.folder.read_predictions(work.record)
        if UNDER in missing:
            cases, versions = _under(clean, work, snapshot, missing[UNDER][CONDITIONS])
            if versions:
                found[UNDER] = StageResult({CONDITIONS: versions}, cases.cases_to_arrays())
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the forward passes over all samples."""
        dataset = timing.dataset(run)
        train, test = len(dataset.train_inputs), len(dataset.test_inputs)
        clean = sum(_CLEAN in keys and not twin_of(snapshot) for snapshot, keys in left.items())
        passes = sum(passes_under(dataset, keys[UNDER][CONDITIONS]) for keys in left.values() if UNDER in keys)
        return timing.forward(run) * (clean * (train + test) + passes * test)

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of the predictions at the end."""
        dataset = timing.dataset(run)
        # Outputs in single precision with a target each.
        sample = 4 * dataset.outputs + 8
        condensed = SPLITS[dataset.task.name].condensed_bytes(dataset.outputs)
        conditions = conditions_among(dataset, timing.plan.requested.conditions)
        cases = sum(len(condition.cases) for condition in conditions)
        return {
            "outputs on training data": sample * len(dataset.train_inputs),
            "outputs on test data": sample * len(dataset.test_inputs),
            "predictions under conditions": condensed * cases * len(dataset.test_inputs),
        }


def _facts(told: Basic) -> dict[str, Any]:
    facts = asdict(told)
    del facts["by_classes"]
    return facts


def _stored_as(clean: Predictions, work: Work, snapshot: str) -> StageResult:
    if work.stores_predictions(snapshot):
        return StageResult({"values": clean.basics()}, clean.to_arrays())
    gap = work.dataset.task.gap
    return StageResult({"values": {**clean.basics(), gap: SCORES[gap](clean)}})


def _under(
    clean: Predictions, work: Work, snapshot: str, wanted: Mapping[str, int]
) -> tuple[Predictions, dict[str, int]]:
    """Return predictions under conditions, those that are stored already among them, with the versions of all.

    What is stored and not wanted now is kept: a study that leaves a score out for a while does not pay twice. A
    condition that fails costs what is read under it.
    """
    entry = work.record.at(snapshot, PREDICTING).get(UNDER, {})
    stored = {name: version for name, version in _versions(entry, work).items() if wanted.get(name, version) == version}
    arrays = work.folder.read_arrays(UNDER_CONDITIONS, work.record.files[UNDER_CONDITIONS]) if stored else {}
    cases = dict(Predictions.from_arrays(clean.to_arrays() | arrays).limited_to(stored).cases)
    offered = conditions_of(work.dataset, wanted)
    for name in sorted(wanted.keys() - stored.keys()):
        try:
            # What a dataset does not come under is another one's of the study.
            altered = work.cache.altered(work.run.data, name) if name in offered else ()
            cases |= predict_under(work.model(snapshot), work.dataset, altered, work.device)
            stored[name] = wanted[name]
        except FAULTS as error:
            work.fail_condition(snapshot, name, error)
    # In an order that does not tell what was stored before: sums over cases are the same to the last bit.
    ordered = sorted(cases.items(), key=lambda found: found[0].condition)
    return replace(clean, cases=dict(ordered)), stored


def _versions(entry: Mapping[str, Any], work: Work) -> dict[str, int]:
    """Return the conditions of stored predictions; none where their file is gone or damaged."""
    return dict(entry.get(CONDITIONS, {})) if UNDER_CONDITIONS in work.record.files else {}
