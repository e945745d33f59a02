"""The stages of one run: training, predictions, measures, scores. Each begins from what is stored of the one before.

Every stage sees the same tensors whether they were stored or are fresh: training ends in a state dict, and the model
that is evaluated and measured is always built anew and filled from one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sharpscope.curvature.batches import Batches
from sharpscope.curvature.risk import Risk
from sharpscope.data import Dataset
from sharpscope.errors import SharpscopeError
from sharpscope.measurement import Measurements, measure_risk
from sharpscope.models import build
from sharpscope.safety import SCORES, Predictions
from sharpscope.safety.basic import test_accuracy, test_loss, train_accuracy, train_loss
from sharpscope.safety.predictions import Corrupted, Split
from sharpscope.seeding import Stream
from sharpscope.spec import Run
from sharpscope.study.bench import Bench
from sharpscope.study.provenance import provenance
from sharpscope.study.reasons import one_line
from sharpscope.study.record import Record, Wish, Wishes, plain
from sharpscope.study.store import HISTORY, PREDICTIONS, WEIGHTS, Damaged, RunFolder, Store, to_parquet
from sharpscope.training import Diverged, Recipe, predict, train

BATCH_SIZE = 256


@dataclass(frozen=True)
class Assignment:
    """All that a process needs to do the runs of a study; it can be pickled.

    Attributes:
        directory: The folder of the study.
        runs: The runs by their ids.
        coordinates: Regime, seed and varying keys of each run.
        wishes: What is wanted of each run.
        plugins: Python files to import first.
        data_dir: The user's folder of datasets.
        device: Where to compute.
    """

    directory: Path
    runs: dict[str, Run]
    coordinates: dict[str, dict[str, Any]]
    wishes: Wishes
    plugins: tuple[str, ...] = ()
    data_dir: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """How the work on a run ended.

    Attributes:
        run_id: The run.
        state: ``done``, ``failed``, ``diverged``, or ``busy`` if another process is at work on it.
        reason: Why it failed or diverged.
        stages: The stages that were done now; none if all was stored.
        notes: What the user should know: stored files that were damaged.
        seconds: Time it took.
    """

    run_id: str
    state: str
    reason: str = ""
    stages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def perform(run_id: str, assignment: Assignment, bench: Bench) -> Outcome:
    """Do what is left of a run, unless another process is at it.

    Whatever goes wrong is recorded as the run's own failure; only an interruption passes.
    """
    folder = Store(assignment.directory).run(run_id)
    started = time.perf_counter()
    try:
        with folder.claim() as held:
            if not held:
                return Outcome(run_id, "busy")
            stages = _Stages(run_id, assignment, bench, folder)
            stages.complete()
            record, done, notes = stages.record, stages.done, stages.notes
    except OSError as error:
        # Not even the record could be written: the disk is full, or the folder is not ours.
        return Outcome(run_id, "failed", one_line(error), seconds=time.perf_counter() - started)
    seconds = time.perf_counter() - started
    return Outcome(run_id, record.state, record.reason, tuple(done), tuple(notes), seconds)


class NotFinite(SharpscopeError):
    """A training that ended in weights whose outputs overflow: it diverged, if only at its end."""


class CleanBatches:
    """The clean training data as a model sees it, in a fixed order; nothing is kept between passes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._dataset.train_inputs, self._dataset.train_targets
        for batch, labels in zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
            yield self._dataset.normalize(batch), labels


def measure_clean(
    model: nn.Module,
    dataset: Dataset,
    wishes: Mapping[str, Wish],
    seed: int,
    init: Mapping[str, Tensor],
    device: str = "cpu",
) -> Measurements:
    """Measure a model on the clean training data.

    Args:
        model: The trained model.
        dataset: Its data.
        wishes: What to measure, by key.
        seed: The seed of all estimators.
        init: The parameters before training, by name.
        device: Where to compute.
    """
    batches = Batches(CleanBatches(dataset))
    risk = Risk(model, batches, device=device, stream=Stream(seed, "measure"), init=init)
    return measure_risk(risk, {key: {"measure": wanted.name, **wanted.options} for key, wanted in wishes.items()})


@dataclass
class _Stages:
    """One run while it is worked on.

    ``suspect`` is set when a stored file was found damaged, so that all of them are looked at.
    """

    run_id: str
    assignment: Assignment
    bench: Bench
    folder: RunFolder
    record: Record = field(init=False)
    suspect: bool = False
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = self.assignment.runs[self.run_id]
        self.wishes = self.assignment.wishes
        self.record = Record(self.run_id)

    @property
    def dataset(self) -> Dataset:
        """The data of this run."""
        return self.bench.dataset(self.run.data)

    def complete(self) -> None:
        """Do all that is left, and record it."""
        try:
            settled = self.folder.settled(self.wishes)
            if settled is not None:
                self.record = settled
                return
            self.record = self.folder.read_record() or self.record
        except Damaged as error:
            self._note(error)
            self.suspect = True
            with contextlib.suppress(Damaged):
                self.record = self.folder.read_record() or self.record
        try:
            self._do_all()
            self.record.state, self.record.reason = "done", ""
        except (Diverged, NotFinite) as error:
            self.record = Record(self.run_id, "diverged", str(error), timings=self.record.timings)
        except Exception as error:  # noqa: BLE001 - whatever a run raises is its own failure, not the study's
            self.record.state, self.record.reason = "failed", one_line(error)
            with contextlib.suppress(OSError):
                self.folder.write("traceback.txt", traceback.format_exc().encode())
        self._write_record()

    def _write_record(self) -> None:
        self.record.spec = plain(self.run.model_dump())
        self.record.coordinates = plain(self.assignment.coordinates[self.run_id])
        self.record.provenance = provenance(self.assignment.device)
        self.folder.write_record(self.record)

    def _do_all(self) -> None:
        predictions = self._stored_predictions()
        if predictions is None or self._missing_measures() or self.suspect:
            weights = self._stored_weights()
            if weights is None:
                weights, predictions = self._train(), None
            model = self._model(weights)
            if predictions is None:
                predictions = self._predict(model)
            self._measure(model)
        self._score(predictions)

    def _note(self, error: Damaged) -> None:
        text = f"run {self.run_id}: {error}; it is made again"
        if text not in self.notes:
            self.notes.append(text)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.record.timings[name] = round(time.perf_counter() - started, 3)
        self.done.append(name)

    def _missing_measures(self) -> dict[str, Wish]:
        stored = self.record.measures
        return {k: w for k, w in self.wishes.measures.items() if not w.answered_by(stored.get(k), "measure")}

    def _stored_predictions(self) -> Predictions | None:
        if self.record.predictions != {"corruptions": self.wishes.corruptions}:
            return None
        try:
            return self.folder.read_predictions(self.record)
        except Damaged as error:
            self._note(error)
            return None

    def _stored_weights(self) -> dict[str, Tensor] | None:
        """Return weights of an earlier start; without a record they count if the history, written before, is there."""
        path = self.folder.path
        if not (path / WEIGHTS).is_file() or not (path / HISTORY).is_file():
            return None
        try:
            return load(self.folder.read(WEIGHTS, self.record.files.get(WEIGHTS)))
        except (Damaged, SafetensorError):
            self._note(Damaged(f"{WEIGHTS} is damaged"))
            return None

    def _train(self) -> dict[str, Tensor]:
        """Train from the initialization of the seed; whatever was known of other weights is forgotten."""
        self.record = Record(self.run_id)
        with self._stage("training"):
            model = self._initial_model()
            recipe = Recipe.from_spec(self.run.training, self.run.regime)
            init = self._write_init(model)
            stream = Stream(self.run.seed, "training")
            try:
                history = train(model, self.dataset, recipe, stream, device=self.assignment.device)
            except Diverged as error:
                self.folder.write(HISTORY, to_parquet(error.history.to_columns()))
                raise
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            files = {HISTORY: self.folder.write(HISTORY, to_parquet(history.to_columns()))}
            files[WEIGHTS] = self.folder.write(WEIGHTS, save(weights))
        self.record.files, self.record.init = files, init
        return weights

    def _initial_model(self) -> nn.Module:
        shape, classes = self.dataset.input_shape, len(self.dataset.classes)
        return build(self.run.model.name, shape, classes, Stream(self.run.seed, "init"), **self.run.model.options)

    def _write_init(self, model: nn.Module) -> str:
        identity = self.run.identity()
        shared = json.dumps([identity[key] for key in ("data", "model", "seed")], sort_keys=True)
        name = hashlib.blake2b(shared.encode(), digest_size=6).hexdigest()
        weights = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
        return Store(self.assignment.directory).write_init(name, save(weights))

    def _model(self, weights: dict[str, Tensor]) -> nn.Module:
        model = self._initial_model()
        model.load_state_dict(weights)
        return model.to(self.assignment.device).eval()

    def _predict(self, model: nn.Module) -> Predictions:
        data = self.dataset
        with self._stage("predictions"):
            predictions = Predictions(
                train=Split(self._logits(model, data.train_inputs), data.train_targets.numpy()),
                test=Split(self._logits(model, data.test_inputs), data.test_targets.numpy()),
                corrupted=self._predict_corrupted(model) if self.wishes.corruptions else None,
            )
            seal = self.folder.write_arrays(PREDICTIONS, predictions.to_arrays())
        self.record.files[PREDICTIONS] = seal
        self.record.predictions = {"corruptions": dict(self.wishes.corruptions)}
        self.record.scores.clear()
        self.record.training = {
            function.__name__: float(function(predictions))
            for function in (train_loss, test_loss, train_accuracy, test_accuracy)
        }
        # From the stored form on, so that a score is the same whether its predictions are fresh or were read.
        return self.folder.read_predictions(self.record)

    def _logits(self, model: nn.Module, inputs: Tensor) -> np.ndarray:
        outputs = predict(model, inputs, self.dataset.normalize, batch_size=BATCH_SIZE, device=self.assignment.device)
        finite = torch.isfinite(outputs).all(dim=1)
        if not finite.all():
            raise NotFinite(f"the trained model's outputs are NaN or infinite for {int((~finite).sum())} samples")
        return outputs.numpy()

    def _predict_corrupted(self, model: nn.Module) -> Corrupted:
        small = np.min_scalar_type(len(self.dataset.classes) - 1)
        names, predicted, confidence = [], [], []
        for name, inputs in self.bench.corrupted(self.run.data, list(self.wishes.corruptions)):
            split = Split(self._logits(model, inputs), self.dataset.test_targets.numpy())
            names.append(name)
            predicted.append(split.predicted.astype(small))
            confidence.append(split.confidence.astype(np.float16))
        return Corrupted(tuple(names), np.stack(predicted), np.stack(confidence))

    def _measure(self, model: nn.Module) -> None:
        missing = self._missing_measures()
        if not missing:
            return
        with self._stage("measures"):
            init = dict(self._initial_model().named_parameters())
            found = measure_clean(model, self.dataset, missing, self.run.seed, init, self.assignment.device)
        for key, wanted in missing.items():
            estimate = found[key]
            self.record.measures[key] = {
                **wanted.stamp("measure"),
                "value": float(estimate.value),
                "stderr": float(estimate.stderr),
                "samples": int(estimate.samples),
                "converged": bool(estimate.converged),
                "details": plain(dict(estimate.details)),
            }

    def _score(self, predictions: Predictions) -> None:
        with self._stage("scores"):
            for key, wanted in self.wishes.scores.items():
                if not wanted.answered_by(self.record.scores.get(key), "score"):
                    value = float(SCORES[wanted.name](predictions, **wanted.options))
                    self.record.scores[key] = {**wanted.stamp("score"), "value": value}


def record_failure(run_id: str, assignment: Assignment, reason: str) -> Outcome:
    """Record that a run failed in a way that its own process could not record."""
    folder = Store(assignment.directory).run(run_id)
    with contextlib.suppress(OSError), folder.claim() as held:
        if held:
            record = None
            with contextlib.suppress(Damaged):
                record = folder.read_record()
            record = record or Record(run_id)
            record.state, record.reason = "failed", reason
            record.spec = plain(assignment.runs[run_id].model_dump())
            record.coordinates = plain(assignment.coordinates[run_id])
            folder.write_record(record)
    return Outcome(run_id, "failed", reason)
