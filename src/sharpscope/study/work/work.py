"""One run while it is worked on: what its stages are given."""

from __future__ import annotations

import contextlib
import hashlib
import json
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sharpscope.curvature.risk.twin_memory import TwinMemory
from sharpscope.data import Case, Dataset
from sharpscope.errors import DataError, SharpscopeError, by_reason, one_line
from sharpscope.models import build
from sharpscope.safety import Predictions, Split, TopSplit
from sharpscope.safety.temperature import Fit, case_readings, readings
from sharpscope.spec import Run
from sharpscope.store.files import Damaged, Missing
from sharpscope.store.folder import Store
from sharpscope.store.record import Entry, Record
from sharpscope.store.run_folder import PREDICTIONS, UNDER_CONDITIONS, WATCHED, RunFolder
from sharpscope.store.snapshots import END, arrays_file, base_of, column, table_file, twin_of, weights_file
from sharpscope.store.tables import to_parquet
from sharpscope.store.temperatures import fit_of
from sharpscope.store.wanted import CONDITIONS, PREDICTING, UNDER, Wanted
from sharpscope.study.work.assignment import Assignment, Report, check_same, unheard
from sharpscope.study.work.data_cache import DataCache
from sharpscope.study.work.outputs import calibration_of, predict_under, predictions_of
from sharpscope.study.work.provenance import provenance
from sharpscope.study.work.stage import StageResult
from sharpscope.study.work.streams import initial_stream, training_stream
from sharpscope.study.work.trained import Trained
from sharpscope.study.work.twins import divide_head
from sharpscope.training import Recipe

Weights = dict[str, Tensor]
# The stage whose files have names of their own.
_FILES = {PREDICTING: PREDICTIONS, UNDER: UNDER_CONDITIONS}


@dataclass
class Work:
    """A run with what is known of it, and what stages ask for.

    Every stage sees the same tensors whether they were stored or are fresh: training ends in a state dict, and the
    model that is evaluated and measured is always built anew and filled from one.

    Attributes:
        assignment: What this process is to do.
        cache: What it keeps from run to run.
        folder: Of the run.
        record: What is known of the run.
        report: Called after each epoch of its training.
        notes: What the user should know.
        unmade: Why predictions under a condition could not be made, by condition.
        twin_memories: What measures have kept of the model for its twins, by each snapshot that was measured here.
        trained: How its training has ended, where it was trained together with others.
    """

    assignment: Assignment
    cache: DataCache
    folder: RunFolder
    record: Record
    report: Report = unheard
    notes: list[str] = field(default_factory=list)
    unmade: dict[str, str] = field(default_factory=dict)
    trained: Trained | None = None
    twin_memories: dict[str, TwinMemory] = field(default_factory=dict)
    _models: dict[str, nn.Module] = field(default_factory=dict)
    _predictions: dict[str, Predictions] = field(default_factory=dict)
    _evaluated: dict[str, dict[Case, list[TopSplit]]] = field(default_factory=dict)

    @cached_property
    def run(self) -> Run:
        """The run as the study describes it."""
        return self.assignment.runs[self.folder.run_id]

    @property
    def wanted(self) -> Wanted:
        """All that is wanted of it."""
        return self.assignment.wanted

    @property
    def device(self) -> str:
        """Where to compute."""
        return self.assignment.device

    @cached_property
    def recipe(self) -> Recipe:
        """How this run trains."""
        return Recipe.from_spec(self.run.training, self.run.regime)

    @cached_property
    def dataset(self) -> Dataset:
        """The data of this run, with the labels that it trains on."""
        dataset = self.cache.dataset(self.run.data)
        planned = self.assignment.data.get(self.folder.run_id, "")
        check_same(self.run.data.name, {planned, self.record.data, dataset.digest})
        return self.recipe.training_data(dataset, training_stream(self.run))

    def model(self, snapshot: str) -> nn.Module:
        """Return the model as it was at a snapshot, on the device and in eval mode; it is to be left as it is.

        Raises:
            Damaged: If the weights are missing or damaged.
        """
        if snapshot not in self._models:
            model = self.initial_model()
            model.load_state_dict(self.weights(snapshot))
            model = model.to(self.device).eval()
            if twin_of(snapshot):
                divide_head(model, self.dataset, self.temperature(snapshot).temperature, self.device)
            # One at a time: the snapshots come one after the other.
            self._models = {snapshot: model}
        return self._models[snapshot]

    def twin_memory(self, snapshot: str) -> TwinMemory:
        """Return what measures keep of a model at a snapshot for its twins, or kept of that which this is a twin of."""
        memory = self.twin_memories.setdefault(base_of(snapshot), TwinMemory())
        return memory.of_twin(self.temperature(snapshot).temperature) if twin_of(snapshot) else memory

    def temperature(self, twin: str) -> Fit:
        """Return the temperature of a twin.

        Raises:
            SharpscopeError: If it could not be had.
        """
        found = fit_of(self.record, twin, self.wanted)
        if found is None:
            raise SharpscopeError("its temperature could not be had")
        return found

    def reference(self, snapshot: str) -> Work | None:
        """Return the run of the reference level with this seed and setting, to look at; it may be this one.

        Args:
            snapshot: What of it is asked for; None is returned if it never came to that.

        Raises:
            SharpscopeError: If there is none, or it is not done yet.
        """
        run_id = self.assignment.references.get(self.folder.run_id)
        if run_id is None:
            raise SharpscopeError("no run of the reference level has its seed and setting")
        if run_id == self.folder.run_id:
            return self
        folder = Store(self.assignment.directory).run(run_id)
        record = folder.read_record() or Record(run_id)
        if record.state == "diverged" or record.never_came_to(snapshot, self.wanted):
            return None
        if record.state != "done" or not record.came_to(snapshot, self.wanted):
            raise SharpscopeError(f"run {run_id}, the reference that it is matched with, is not done yet")
        return Work(self.assignment, self.cache, folder, record)

    def calibration(self, snapshot: str) -> Split | None:
        """Return what the model says at a snapshot about the calibration split; None if the data have none."""
        return calibration_of(self.model(snapshot), self.dataset, self.device)

    def predictions(self, snapshot: str) -> Predictions:
        """Return the predictions at a snapshot as far as they are wanted now: scores must not see more of them.

        Those of the end are stored; others are made again from the weights. Of a twin that has several ``readings`` it
        is the first.

        Raises:
            Damaged: If what they are made of is missing or damaged.
        """
        if twin_of(snapshot):
            return self.readings(snapshot)[0]
        if snapshot not in self._predictions:
            self._predictions = {snapshot: self._find_predictions(snapshot)}
        return self._predictions[snapshot]

    def readings(self, snapshot: str, *, calibration: bool = False, under: Collection[str] = ()) -> list[Predictions]:
        """Return the predictions at a snapshot: once, or of a cross-fitted twin for each time the test set was halved.

        Args:
            snapshot: Where.
            calibration: Whether to have those on the calibration split too, which are made from the weights.
            under: Of a twin the conditions under which to have predictions too; those of its snapshot are all there.

        Raises:
            DataError: If a model that is evaluated anew under a condition gives no numbers.
            Damaged: If what they are made of is missing or damaged.
        """
        base = base_of(snapshot)
        predictions = self.predictions(base)
        if calibration:
            predictions = replace(predictions, calibration=self.calibration(base))
        if not twin_of(snapshot):
            return [predictions]
        fit = self.temperature(snapshot)
        return readings(predictions, fit, self._case_readings(snapshot, fit, under))

    def _case_readings(self, twin: str, fit: Fit, conditions: Collection[str]) -> dict[Case, list[TopSplit]]:
        """Return what a model says under conditions at a temperature, from what is stored where that is all classes."""
        base = base_of(twin)
        predictions = self.predictions(base)
        classes = predictions.test.logits.shape[1]
        stored = predictions.limited_to(conditions).cases
        lacking = {case.condition for case, kept in stored.items() if not kept.has_all(classes)}
        found = {
            case: case_readings(case, kept, predictions, fit)
            for case, kept in stored.items()
            if case.condition not in lacking
        }

        def keep(case: Case, split: Split) -> list[TopSplit]:
            return case_readings(case, TopSplit.of(split, classes), predictions, fit)

        # Several stages of a twin may ask; the twins come one after the other.
        self._evaluated = {twin: self._evaluated.get(twin, {})}
        anew = self._evaluated[twin]
        for name in sorted(lacking - {case.condition for case in anew}):
            altered = self.cache.altered(self.run.data, name)
            anew |= predict_under(self.model(base), self.dataset, altered, self.device, keep)
        return {case: found[case] if case in found else anew[case] for case in stored}

    def _find_predictions(self, snapshot: str) -> Predictions:
        if not self.stores_predictions(snapshot):
            return predictions_of(self.model(snapshot), self.dataset, self.device)
        wanted = self.wanted.at(snapshot, PREDICTING).get(UNDER, {}).get(CONDITIONS, {})
        return self.folder.read_predictions(self.record, cases=bool(wanted)).limited_to(wanted)

    @staticmethod
    def stores_predictions(snapshot: str) -> bool:
        """Return whether predictions at a snapshot are kept: of the end, for pairs, diagrams and later scores."""
        return base_of(snapshot) == END

    def weights(self, snapshot: str) -> Weights:
        """Return the stored weights at a snapshot, or at that which it is a twin of, which the record vouches for.

        Raises:
            Damaged: If they are missing or damaged.
        """
        name = weights_file(base_of(snapshot))
        try:
            return load(self.folder.read(name, self.record.files.get(name)))
        except SafetensorError as error:
            raise Damaged(f"{name} is damaged: {error}") from None

    def watched_weights(self) -> dict[int, Weights]:
        """Return the stored weights along the training, by the step after which it had them, in their order.

        Raises:
            Damaged: If they are missing or damaged.
        """
        try:
            tensors = load(self.folder.read(WATCHED, self.record.files.get(WATCHED)))
        except SafetensorError as error:
            raise Damaged(f"{WATCHED} is damaged: {error}") from None
        found: dict[int, Weights] = {}
        for place, tensor in tensors.items():
            step, _, name = place.partition("/")
            found.setdefault(int(step), {})[name] = tensor
        return dict(sorted(found.items()))

    def has_weights(self, snapshot: str) -> bool:
        """Return whether there are weights at a snapshot that can be read; a note tells what is wrong with others."""
        return self._can_read(lambda: self.weights(snapshot))

    def has_watched_weights(self) -> bool:
        """Return whether there are weights along the training, likewise."""
        return self._can_read(self.watched_weights)

    def _can_read(self, read: Callable[[], object]) -> bool:
        try:
            read()
        except Missing:
            return False
        except Damaged as error:
            self.note(error)
            return False
        return True

    def initial_model(self) -> nn.Module:
        """Return the model before its training."""
        shape, outputs = self.dataset.input_shape, self.dataset.outputs
        return build(self.run.model.name, shape, outputs, initial_stream(self.run), **self.run.model.options)

    def write_init(self, model: nn.Module) -> str:
        """Keep initial weights, once for all runs that share them; return where."""
        identity = self.run.identity()
        shared = json.dumps([identity[key] for key in ("data", "model", "seed")], sort_keys=True)
        name = hashlib.blake2b(shared.encode(), digest_size=6).hexdigest()
        weights = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
        return Store(self.assignment.directory).write_init(name, save(weights))

    def stored(self, stage: str, snapshot: str, key: str, found: StageResult) -> Entry:
        """Return a result of a stage as the record is to have it; its arrays are written beside it.

        Raises:
            SharpscopeError: If it is none that is wanted, or one of its values is no number.
        """
        wanted = self.wanted.at(snapshot, stage)
        if key not in wanted:
            raise SharpscopeError(f"stage '{stage}' found '{key}', and should find {', '.join(wanted)}")
        entry = {**wanted[key], **found.checked(stage), "made_by": self.maker()}
        if found.arrays:
            at_end = stage == PREDICTING and snapshot == END
            name = _FILES[key] if at_end else arrays_file(stage, key, snapshot)
            self.record.files[name] = self.folder.write_arrays(name, found.arrays)
            entry["files"] = [name]
        if found.table:
            name = table_file(stage, key, snapshot)
            self.record.files[name] = self.folder.write(name, to_parquet(found.table))
            entry["files"] = [*entry.get("files", ()), name]
        return entry

    def begin_anew(self) -> None:
        """Let go of all that is known of this run: its weights will be others."""
        self.record = Record(self.folder.run_id)
        self.forget_made()

    def forget_made(self) -> None:
        """Let go of models and predictions that were made of weights before these."""
        self._models.clear()
        self.twin_memories.clear()
        self.forget_predictions()

    def forget_predictions(self) -> None:
        """Let go of predictions that are made anew."""
        self._predictions.clear()
        self._evaluated.clear()

    def maker(self) -> str:
        """Note what this process is and return its name."""
        return self.record.note_maker(provenance(self.device))

    def note(self, error: BaseException | str, what: str = "it is made again") -> None:
        """Tell the user something of this run, once."""
        text = f"run {self.folder.run_id}: {error}; {what}"
        if text not in self.notes:
            self.notes.append(text)

    def fail(self, snapshot: str, key: str, error: BaseException) -> None:
        """Note why a result could not be had; the next run tries again.

        Args:
            snapshot: Where.
            key: Which.
            error: What was raised.
        """
        self.record.errors[column(key, snapshot)] = one_line(error)
        self.write_traceback(error)

    def fail_condition(self, snapshot: str, condition: str, error: BaseException) -> None:
        """Note why predictions under a condition could not be made; what is read under it cannot be had either."""
        self.unmade[condition] = one_line(error)
        failure = DataError(_unmade(self.unmade))
        failure.__cause__ = error
        self.fail(snapshot, UNDER, failure)

    def check_made(self, conditions: Iterable[str]) -> None:
        """See that predictions could be made under conditions.

        Raises:
            DataError: If they could not under one.
        """
        failed = {name: self.unmade[name] for name in conditions if name in self.unmade}
        if failed:
            raise DataError(_unmade(failed))

    def write_traceback(self, error: BaseException) -> None:
        """Keep where an error came from."""
        with contextlib.suppress(OSError):
            self.folder.write("traceback.txt", "".join(traceback.format_exception(error)).encode())

    def sign_training(self) -> str:
        """Note what data the training was made of, and by what; return the name of the latter."""
        self.record.data = self.cache.dataset(self.run.data).digest
        return self.maker()


def _unmade(reasons: Mapping[str, str]) -> str:
    """Return why there are no predictions under some conditions, in one sentence."""
    told = []
    for reason, names in by_reason(reasons).items():
        others = f" and {len(names) - 3} others" if len(names) > 3 else ""
        told.append(f"{', '.join(names[:3])}{others} ({reason})")
    return f"there are no predictions under {'; '.join(told)}"
