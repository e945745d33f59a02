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
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sharpscope.data import Dataset
from sharpscope.errors import FAULTS, one_line
from sharpscope.files import no_space
from sharpscope.models import build
from sharpscope.safety import SCORES, Predictions
from sharpscope.seeding import Stream
from sharpscope.store.documents import plain
from sharpscope.store.files import Damaged, Missing
from sharpscope.store.folder import Store
from sharpscope.store.levels import column, weights_file
from sharpscope.store.record import PREDICTED, Record
from sharpscope.store.run_folder import CHECKPOINT, HISTORY, TRAINED, WEIGHTS, RunFolder
from sharpscope.store.tables import to_parquet
from sharpscope.store.wishes import Wish
from sharpscope.study.assignment import Assignment, Outcome, check_same
from sharpscope.study.bench import Bench
from sharpscope.study.evaluation import (
    NotFinite,
    measure_each,
    predict_under,
    predictions_of,
    stamped,
    values_at_level,
)
from sharpscope.study.provenance import provenance
from sharpscope.training import CheckpointError, Diverged, History, Kept, Recipe, train

Weights = dict[str, Tensor]

# Seconds of training that a killed process may lose; a training that is shorter writes no checkpoint.
CHECKPOINT_PAUSE = 60.0


def perform(run_id: str, assignment: Assignment, bench: Bench) -> Outcome:
    """Do what is left of a run, unless another process is at it.

    Whatever goes wrong is recorded as the run's own failure; only an interruption passes.
    """
    folder = Store(assignment.directory).run(run_id)
    started = time.perf_counter()
    try:
        with folder.lease() as held:
            if not held:
                return Outcome(run_id, "busy")
            stages = _Stages(run_id, assignment, bench, folder)
            stages.complete()
            record, done, notes = stages.record, stages.done, stages.notes
    except Exception as error:  # noqa: BLE001 - such as a folder that is not ours; that is this run's failure too
        # Not even the record could be written. Others would come to the same end where the disk is full.
        reason = one_line(error)
        seconds = time.perf_counter() - started
        return Outcome(run_id, "failed", reason, seconds=seconds, halt=reason if no_space(error) else "")
    seconds = time.perf_counter() - started
    missing = record.lacking(assignment.wishes)
    return Outcome(run_id, record.state, record.reason, tuple(done), missing, tuple(notes), seconds)


@dataclass
class _Stages:
    """One run while it is worked on.

    ``suspect`` is set when a stored file was found damaged, so that all of them are looked at. ``before`` is the record
    of a run that was done already, as long as its weights are those stored: it stands if what is added now fails.
    """

    run_id: str
    assignment: Assignment
    bench: Bench
    folder: RunFolder
    record: Record = field(init=False)
    suspect: bool = False
    before: Record | None = None
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = self.assignment.runs[self.run_id]
        self.wishes = self.assignment.wishes
        self.device = self.assignment.device
        self.record = Record(self.run_id)

    @cached_property
    def recipe(self) -> Recipe:
        """How this run trains."""
        return Recipe.from_spec(self.run.training, self.run.regime)

    @cached_property
    def dataset(self) -> Dataset:
        """The data of this run, with the labels that it trains on."""
        dataset = self.bench.dataset(self.run.data)
        check_same(self.run.data.name, {self.assignment.data.get(self.run_id, ""), self.record.data, dataset.digest})
        return self.recipe.training_data(dataset)

    def complete(self) -> None:
        """Do all that is left, and record it."""
        try:
            settled = self.folder.settled(self.wishes)
            if settled is not None:
                self.record = settled
                return
            self.record = self.folder.best_record()
            self.folder.check(self.record, self.wishes)
        except Damaged as error:
            self._note(error)
            self.suspect = True
            self.record = self.folder.best_record()
            self._drop_unwanted_levels()
        self.before = self.record if self.record.state == "done" else None
        try:
            self._do_all()
            self.record.state, self.record.reason = "done", ""
        except (Diverged, NotFinite) as error:
            self.record = self._diverged(str(error))
        except FAULTS as error:
            if no_space(error):
                raise
            self.record = self.before or self.record
            self.record.fail(one_line(error))
            self._write_traceback(error)
        self._write_record()

    def _diverged(self, reason: str) -> Record:
        files = {name: seal for name, seal in self.record.files.items() if name not in PREDICTED}
        facts: dict[str, Any] = {"files": files, "init": self.record.init, "timings": self.record.timings}
        self.record = Record(self.run_id, "diverged", reason, **facts)
        self._sign_training()
        return self.record

    def _maker(self) -> str:
        """Note what this process is and return its name."""
        return self.record.note_maker(provenance(self.device))

    def _write_traceback(self, error: BaseException) -> None:
        with contextlib.suppress(OSError):
            self.folder.write("traceback.txt", "".join(traceback.format_exception(error)).encode())

    def _fail(self, name: str, error: BaseException) -> None:
        """Note why a column of the ledger could not be had."""
        key = name.partition("@")[0]
        self.record.errors[name] = one_line(error).removeprefix(f"{key}: ")
        self._write_traceback(error)

    def _write_record(self) -> None:
        self.record.spec = plain(self.run.model_dump())
        self.record.coordinates = plain(self.assignment.coordinates[self.run_id])
        self.record.forget_makers()
        if self.suspect and WEIGHTS in self.record.files:
            self.folder.write_trained(self.record)
        self.folder.write_record(self.record)
        if self.record.state != "failed":
            # Until now it was the one place where weights kept on the way were told from those of other levels.
            self.folder.remove(CHECKPOINT)

    def _do_all(self) -> None:
        self.record.errors = {}
        predictions = self._stored_predictions()
        if predictions is None or self._missing(self.record.measures) or self._unsettled_levels() or self.suspect:
            weights = self._stored_weights()
            if weights is None or self._lacks_levels() or (self.suspect and self.folder.spoiled(HISTORY, self.record)):
                weights, same = self._train(weights)
                predictions = predictions if same else None
            elif self.suspect:
                self.record.init = self._write_init(self._initial_model())
            model = self._model(weights)
            if predictions is None:
                predictions = self._predict(model)
            self._measure(model)
            self._measure_levels()
        self._score(predictions)

    def _note(self, error: BaseException, what: str = "it is made again") -> None:
        text = f"run {self.run_id}: {error}; {what}"
        if text not in self.notes:
            self.notes.append(text)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.record.timings[name] = round(time.perf_counter() - started, 3)
        self.done.append(name)

    def _missing(self, stored: Mapping[str, Any]) -> dict[str, Wish]:
        """Return the measures that stored ones do not answer."""
        return {k: w for k, w in self.wishes.measures.items() if not w.answered_by(stored.get(k), "measure")}

    def _unsettled_levels(self) -> list[str]:
        return [level for level in self.wishes.levels if self.record.missing_at(level, self.wishes)]

    def _lacks_levels(self) -> bool:
        """Return whether weights at a level are needed that were not kept, or are not there any more."""
        for level in self.wishes.levels if self.suspect else self._unsettled_levels():
            point = self.record.point_at(level, self.wishes.check_loss_every)
            if point is None:
                return True
            try:
                if point["epoch"] is not None:
                    self.folder.read(weights_file(level), self.record.files.get(weights_file(level)))
            except Damaged:
                return True
        return False

    def _drop_unwanted_levels(self) -> None:
        """Let go of weights at levels that nobody asks for any more, so that damage to them is nobody's concern."""
        wanted = {weights_file(level) for level in self.wishes.levels}
        for level in list(self.record.at_loss):
            if weights_file(level) not in wanted:
                self.folder.remove(weights_file(level))
                self.record.files.pop(weights_file(level), None)
                del self.record.at_loss[level]

    def _stored_predictions(self) -> Predictions | None:
        if not self.record.predicted(self.wishes):
            return None
        try:
            return self._read_predictions()
        except Damaged as error:
            self._note(error)
            return None

    def _stored_weights(self) -> Weights | None:
        """Return the weights that a record vouches for; None where there are none, or they are not those."""
        try:
            return load(self.folder.read(WEIGHTS, self.record.files.get(WEIGHTS)))
        except Missing:
            return None
        except (Damaged, SafetensorError) as error:
            self._note(error)
            return None

    def _train(self, stored: Weights | None) -> tuple[Weights, bool]:
        """Train from the initialization of the seed.

        Args:
            stored: The weights of an earlier training of this run, which kept none at the levels that are wanted now.

        Returns:
            The weights, and whether they are those that the record is about; if not, it is begun anew.
        """
        if stored is None:
            self.record = Record(self.run_id)
        with self._stage("training"):
            model = self._initial_model()
            init = self._write_init(model)
            history = self._history(model)
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            same = stored is not None and _equal(stored, weights)
            if not same:
                self._begin_anew(told=stored is not None)
            self._keep(weights, history, init)
        return weights, same

    def _begin_anew(self, told: bool) -> None:
        self.record, self.before = Record(self.run_id), None
        self.folder.remove("run.json")
        self.folder.remove(TRAINED)
        if told:
            again = Damaged("training again, to keep weights at a train loss, ended in other weights than before")
            self._note(again, "all of it is made again")

    def _history(self, model: nn.Module) -> History:
        """Train, from where an earlier process was killed if it left a checkpoint."""
        path, stream = self.folder.path / CHECKPOINT, Stream(self.run.seed, "training")
        settings: dict[str, Any] = {"device": self.device, "checkpoint_pause": CHECKPOINT_PAUSE}
        # The levels are wishes of the study, so the spec of this run need not name them.
        recipe = replace(self.recipe, checkpoints_at_loss=tuple(self.wishes.levels.values()))
        try:
            return train(model, self.dataset, recipe, stream, checkpoint=path, **settings)
        except CheckpointError as error:
            self._note(error, "this run is trained from the start")
            self.folder.remove(CHECKPOINT)
            fresh = self._initial_model().state_dict()
            model.load_state_dict(fresh)
            return train(model, self.dataset, recipe, stream, checkpoint=path, **settings)
        except Diverged as error:
            self.record.files[HISTORY] = self.folder.write(HISTORY, to_parquet(error.history.to_columns()))
            raise

    def _keep(self, weights: Weights, history: History, init: str) -> None:
        """Write all that a training gave; what vouches for it comes last."""
        files = self.record.files
        for name, level in self.wishes.levels.items():
            kept = history.at_loss.get(level)
            # A point that is there already is of the same weights, or the record would have been begun anew.
            if self.record.point_at(name, self.wishes.check_loss_every) is None:
                self.record.at_loss[name] = _point(level, kept, self.wishes.check_loss_every)
            if kept is not None:
                files[weights_file(name)] = self.folder.write(weights_file(name), save(dict(kept.weights)))
        files[HISTORY] = self.folder.write(HISTORY, to_parquet(history.to_columns()))
        files[WEIGHTS] = self.folder.write(WEIGHTS, save(weights))
        self.record.init = init
        self._sign_training()
        self.folder.write_trained(self.record)

    def _sign_training(self) -> None:
        self.record.data = self.bench.dataset(self.run.data).digest
        self.record.made_by["training"] = self._maker()

    def _initial_model(self) -> nn.Module:
        shape, outputs = self.dataset.input_shape, self.dataset.outputs
        return build(self.run.model.name, shape, outputs, Stream(self.run.seed, "init"), **self.run.model.options)

    def _write_init(self, model: nn.Module) -> str:
        identity = self.run.identity()
        shared = json.dumps([identity[key] for key in ("data", "model", "seed")], sort_keys=True)
        name = hashlib.blake2b(shared.encode(), digest_size=6).hexdigest()
        weights = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
        return Store(self.assignment.directory).write_init(name, save(weights))

    def _model(self, weights: Weights) -> nn.Module:
        model = self._initial_model()
        model.load_state_dict(weights)
        return model.to(self.device).eval()

    def _predict(self, model: nn.Module) -> Predictions:
        with self._stage("predictions"):
            predictions = predictions_of(model, self.dataset, self.device)
            altered = self.bench.altered(self.run.data, list(self.wishes.conditions))
            predictions = replace(predictions, cases=predict_under(model, self.dataset, altered, self.device))
            seals = self.folder.write_predictions(predictions)
        trained = {name: seal for name, seal in self.record.files.items() if name not in PREDICTED}
        self.record.files = {**trained, **seals}
        self.record.made_by["predictions"] = self._maker()
        self.record.predictions = {"conditions": dict(self.wishes.conditions)}
        self.record.scores.clear()
        self.record.training = predictions.basics()
        # From the stored form on, so that a score is the same whether its predictions are fresh or were read.
        return self._read_predictions()

    def _read_predictions(self) -> Predictions:
        """Return the stored predictions as far as they are wanted now: scores must not see more of them."""
        return self.folder.read_predictions(self.record, cases=True).limited_to(self.wishes.conditions)

    def _measured(self, model: nn.Module, wishes: Mapping[str, Wish], level: str = "") -> dict[str, dict[str, Any]]:
        """Return the estimates that can be had, and note why the others cannot."""
        init = dict(self._initial_model().named_parameters())
        found, errors = measure_each(model, self.dataset, wishes, self.run.seed, init, self.device)
        for key, error in errors.items():
            self._fail(column(key, level) if level else key, error)
        return {key: {**estimate, "made_by": self._maker()} for key, estimate in stamped(found, wishes).items()}

    def _measure(self, model: nn.Module) -> None:
        missing = self._missing(self.record.measures)
        if missing:
            with self._stage("measures"):
                self.record.measures |= self._measured(model, missing)

    def _measure_levels(self) -> None:
        """Measure and evaluate the weights at every matched train loss."""
        unsettled = self._unsettled_levels()
        if not unsettled:
            return
        with self._stage("matched loss"):
            for level in unsettled:
                try:
                    self._measure_level(level)
                except NotFinite:
                    raise
                except FAULTS as error:  # what is known of the end of the training stays
                    for key in self.record.missing_at(level, self.wishes):
                        self._fail(column(key, level), error)

    def _measure_level(self, level: str) -> None:
        point = self.record.at_loss[level]
        model = self._model(load(self.folder.read(weights_file(level), self.record.files.get(weights_file(level)))))
        if not point["training"]:
            point["training"] = values_at_level(predictions_of(model, self.dataset, self.device), self.dataset.task)
        missing = self._missing(point["measures"])
        if missing:
            point["measures"] |= self._measured(model, missing, level)

    def _score(self, predictions: Predictions) -> None:
        with self._stage("scores"):
            for key, wanted in self.wishes.scores.items():
                if not wanted.answered_by(self.record.scores.get(key), "score"):
                    try:
                        value = float(SCORES[wanted.name](predictions, **wanted.options))
                    except FAULTS as error:
                        self._fail(key, error)
                        continue
                    self.record.scores[key] = {**wanted.stamp("score"), "value": value, "made_by": self._maker()}


def _equal(first: Weights, second: Weights) -> bool:
    """Return whether weights are the same to the bit; a NaN is never one."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _point(level: float, kept: Kept | None, check_loss_every: int | None) -> dict[str, Any]:
    """Return what a record says of a level before anything is measured there."""
    crossing = {name: None if kept is None else getattr(kept, name) for name in ("epoch", "step", "loss")}
    return {"level": level, "check_loss_every": check_loss_every, **crossing, "training": {}, "measures": {}}
