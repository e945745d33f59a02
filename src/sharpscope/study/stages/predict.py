"""Predictions: what the model says about training set and test set, and about corruptions of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from sharpscope.data import SEVERITIES
from sharpscope.safety import SCORES
from sharpscope.spec import Run
from sharpscope.store.snapshots import level_of
from sharpscope.store.wanted import CONDITIONS, Stamp
from sharpscope.study.outputs import predict_corrupted, predictions_of
from sharpscope.study.stage import STAGES, Column, Found, Stage
from sharpscope.study.stages.score import facts_of
from sharpscope.study.timing import Timing
from sharpscope.study.wishes import Wish, Wishes
from sharpscope.study.work import PREDICTING, Work

_CLEAN, _CORRUPTED = "predictions", "corruptions"


@STAGES.register(PREDICTING)
class Predicting(Stage):
    """Predictions, losses and accuracies on both clean splits, and predictions under corruptions."""

    needs = "weights"
    gives = "predictions"

    def wanted(self, wishes: Wishes, snapshot: str) -> dict[str, Stamp]:
        """Return the clean predictions, and at the end those under all corruptions that scores need."""
        if level_of(snapshot) or not wishes.corruptions:
            return {_CLEAN: {}}
        return {_CLEAN: {}, _CORRUPTED: {CONDITIONS: dict(wishes.corruptions)}}

    def columns(self, wishes: Wishes, snapshot: str) -> list[Column]:
        """Return what every ledger of the task has, and before the end the gap of the splits."""
        task = wishes.task
        facts = {name: asdict(told) for name, told in task.basics.items()}
        if level_of(snapshot):
            facts[task.gap] = facts_of(task.gap, Wish(task.gap))
        return [Column(name, _CLEAN, ("values", name), facts=told) for name, told in facts.items()]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, Found]:
        """Predict everything anew."""
        model = work.model(snapshot)
        predictions = predictions_of(model, work.dataset, work.device)
        if not work.stores_predictions(snapshot):
            gap = work.dataset.task.gap
            return {_CLEAN: Found({"values": {**predictions.basics(), gap: SCORES[gap](predictions)}})}
        wanted = work.wanted.at(snapshot, self.name)
        if _CORRUPTED in wanted:
            conditions = work.bench.corrupted(work.run.data, list(wanted[_CORRUPTED][CONDITIONS]))
            corrupted = predict_corrupted(model, work.dataset, conditions, work.device)
            predictions = replace(predictions, corrupted=corrupted)
        clean = {_CLEAN: Found({"values": predictions.basics()}, predictions.to_arrays())}
        return clean | ({_CORRUPTED: Found()} if _CORRUPTED in wanted else {})

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of the forward passes over all samples."""
        dataset = timing.dataset(run)
        train, test = len(dataset.train_inputs), len(dataset.test_inputs)
        conditions = sum(len(keys[_CORRUPTED][CONDITIONS]) for keys in left.values() if _CORRUPTED in keys)
        return timing.forward(run) * (len(left) * (train + test) + conditions * len(SEVERITIES) * test)

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return the size of the predictions at the end."""
        dataset = timing.dataset(run)
        # Outputs in single precision with a target each; a class and a confidence under each corruption.
        sample = 4 * dataset.outputs + 8
        conditions = len(timing.plan.wishes.corruptions) * len(SEVERITIES)
        return {
            "outputs on training data": sample * len(dataset.train_inputs),
            "outputs on test data": (sample + 3 * conditions) * len(dataset.test_inputs),
        }
