"""Predictions: what the model says about training set and test set, and under conditions of the latter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace

from sharpscope.data import Dataset, conditions_of
from sharpscope.safety import SCORES, SPLITS
from sharpscope.spec import Run
from sharpscope.store.snapshots import loss_of
from sharpscope.store.wanted import CONDITIONS, Stamp
from sharpscope.study.stages.score import facts_of
from sharpscope.study.work.outputs import predict_under, predictions_of
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import PREDICTING, UNDER, Work

_CLEAN = "predictions"


@STAGES.register(PREDICTING)
class PredictStage(Stage):
    """Predictions, losses and accuracies on both clean splits, and predictions under conditions."""

    needs = "weights"
    gives = "predictions"

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the clean predictions, and at the end those under all conditions that scores read."""
        if loss_of(snapshot) or not requested.conditions:
            return {_CLEAN: {}}
        return {_CLEAN: {}, UNDER: {CONDITIONS: dict(requested.conditions)}}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return what every ledger of the task has, and before the end the gap of the splits."""
        task = requested.task
        facts = {name: asdict(told) for name, told in task.basics.items()}
        if loss_of(snapshot):
            facts[task.gap] = facts_of(task.gap, RequestedValue(task.gap))
        return [Column(name, _CLEAN, ("values", name), facts=told) for name, told in facts.items()]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Predict everything anew."""
        model = work.model(snapshot)
        predictions = predictions_of(model, work.dataset, work.device)
        if not work.stores_predictions(snapshot):
            gap = work.dataset.task.gap
            return {_CLEAN: StageResult({"values": {**predictions.basics(), gap: SCORES[gap](predictions)}})}
        found = {_CLEAN: StageResult({"values": predictions.basics()}, predictions.to_arrays())}
        wanted = work.wanted.at(snapshot, self.name).get(UNDER)
        if wanted is not None:
            altered = work.cache.altered(work.run.data, list(wanted[CONDITIONS]))
            cases = replace(predictions, cases=predict_under(model, work.dataset, altered, work.device))
            found[UNDER] = StageResult({}, cases.cases_to_arrays())
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the forward passes over all samples."""
        dataset = timing.dataset(run)
        train, test = len(dataset.train_inputs), len(dataset.test_inputs)
        cases = sum(_cases(dataset, keys[UNDER][CONDITIONS]) for keys in left.values() if UNDER in keys)
        return timing.forward(run) * (len(left) * (train + test) + cases * test)

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of the predictions at the end."""
        dataset = timing.dataset(run)
        # Outputs in single precision with a target each.
        sample = 4 * dataset.outputs + 8
        condensed = SPLITS[dataset.task.name].condensed_bytes(dataset.outputs)
        cases = _cases(dataset, timing.plan.requested.conditions)
        return {
            "outputs on training data": sample * len(dataset.train_inputs),
            "outputs on test data": sample * len(dataset.test_inputs),
            "predictions under conditions": condensed * cases * len(dataset.test_inputs),
        }


def _cases(dataset: Dataset, conditions: Collection[str]) -> int:
    """Return in how many cases a model is evaluated under some conditions, of which a dataset has its own."""
    return sum(len(condition.cases) for name, condition in conditions_of(dataset).items() if name in conditions)
