"""Doing what is left of one run, stage by stage; each begins from what is stored of the one before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sharpscope.errors import FAULTS, one_line
from sharpscope.files import no_space
from sharpscope.store.documents import plain
from sharpscope.store.folder import Store
from sharpscope.store.record import FINAL, TRAINING, Record
from sharpscope.store.run_folder import CHECKPOINT, TRAINED, WEIGHTS, RunFolder
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import UNDER, Stages, Stamp
from sharpscope.study.work.assignment import Assignment, Outcome, Report, unheard
from sharpscope.study.work.data_cache import DataCache
from sharpscope.study.work.outputs import NotFinite
from sharpscope.study.work.stage import STAGES, Stage, in_order
from sharpscope.study.work.trained import Trained
from sharpscope.study.work.work import Work
from sharpscope.training import Diverged


def execute(run_id: str, assignment: Assignment, cache: DataCache, report: Report = unheard) -> Outcome:
    """Do what is left of a run, unless another process is at it.

    Whatever goes wrong is recorded as the run's own failure; only an interruption passes.

    Args:
        run_id: The run.
        assignment: What it is about.
        cache: What this process keeps from run to run.
        report: Called after each epoch of its training.
    """
    folder = Store(assignment.directory).run(run_id)
    started = time.perf_counter()
    try:
        with folder.lease() as held:
            return finish(Execution(folder, assignment, cache, report)) if held else Outcome(run_id, "busy")
    except Exception as error:  # noqa: BLE001 - such as a folder that is not ours; that is this run's failure too
        return broken(run_id, error, started)


def finish(execution: Execution) -> Outcome:
    """Do what is left of a run whose lease is held.

    Whatever goes wrong is recorded as the run's own failure; only an interruption passes.
    """
    started = time.perf_counter()
    try:
        execution.complete()
    except Exception as error:  # noqa: BLE001 - such as a disk that is full
        return broken(execution.folder.run_id, error, started)
    record = execution.record
    seconds = time.perf_counter() - started + execution.spent
    missing = record.lacking(execution.assignment.wanted)
    done, notes = tuple(execution.done), tuple(execution.work.notes)
    training = record.timings.get(TRAINING, 0.0) if TRAINING in done else 0.0
    return Outcome(record.run_id, record.state, record.reason, done, missing, notes, seconds, training)


def broken(run_id: str, error: BaseException, started: float) -> Outcome:
    """Return that not even the record of a run could be written; others would come to that where the disk is full."""
    reason, seconds = one_line(error), time.perf_counter() - started
    return Outcome(run_id, "failed", reason, seconds=seconds, halt=reason if no_space(error) else "")


@dataclass
class Execution:
    """The stages of one run while they are done.

    Attributes:
        suspect: Whether a stored file was found damaged.
        sealed: The files that were there before, undamaged.
        before: The record of a run that was done already: it stands if what is added now fails, as long as its weights
            are those stored.
        done: The stages that something was done of.
        spent: Seconds that were spent on it in company.
    """

    folder: RunFolder
    assignment: Assignment
    cache: DataCache
    report: Report = unheard
    suspect: bool = False
    sealed: set[str] = field(default_factory=set)
    before: Record | None = None
    done: list[str] = field(default_factory=list)
    spent: float = 0.0

    def __post_init__(self) -> None:
        self.work = Work(self.assignment, self.cache, self.folder, Record(self.folder.run_id), self.report)
        names = {name for stages in self.assignment.wanted.snapshots.values() for name in stages}
        self.stages = in_order(names & STAGES.keys())

    @property
    def record(self) -> Record:
        """What is known of the run."""
        return self.work.record

    @property
    def left(self) -> dict[str, Stages]:
        """What is left to do."""
        return self.record.left(self.assignment.wanted)

    def complete(self) -> None:
        """Do all that is left, and record it."""
        self.look()
        if self.work.trained is not None:
            self.record.timings[TRAINING] = round(self.spent, 3)
        if not self.suspect and self.record.settled(self.assignment.wanted):
            return
        self.before = self.record if self.record.state == "done" else None
        try:
            self._do_all()
            self.record.state, self.record.reason = "done", ""
        except (Diverged, NotFinite) as error:
            self._diverge(str(error))
        except FAULTS as error:
            if no_space(error):
                raise
            if self.before is not None:
                self.work.record = self.before
            self.record.fail(one_line(error))
            self.work.write_traceback(error)
        self._write()

    def look(self) -> None:
        """Read all that is stored; a damaged file loses its seal, so that what it holds is left to do."""
        self.work.record, faults, others = self.folder.look()
        for fault in (*faults.values(), *others):
            self.work.note(fault)
        for name in faults:
            del self.record.files[name]
            self.folder.remove(name)
        self.suspect = bool(faults or others)
        self.sealed = set(self.record.files)

    def _do_all(self) -> None:
        self.record.errors = {}
        for stage in self.stages:
            if stage.needs == "run":
                self._train(stage)
        for snapshot in self.assignment.wanted.snapshots:
            for stage in self.stages:
                if stage.needs == "run":
                    continue
                if missing := self.record.left_at(snapshot, stage.name, self.assignment.wanted):
                    with self._timed(stage.name):
                        self._do(stage, snapshot, missing)

    @property
    def untrained(self) -> bool:
        """Whether the run is to be trained, as far as was looked at."""
        return any(TRAINING in stages for stages in self.left.values()) or self._lacks_weights()

    def keep(self, trained: Trained) -> None:
        """Keep what a training in company has given; all else is left to ``complete``."""
        self.work.trained, self.spent, self.done = trained, trained.seconds, [TRAINING]
        stage = next(stage for stage in self.stages if stage.name == TRAINING)
        try:
            stage.do(self.work, END, self.assignment.wanted.at(END, TRAINING))
        except Diverged as error:
            # Written now, since the checkpoint of its company knows nothing of it any more.
            self._diverge(str(error))
            self.record.timings[TRAINING] = round(self.spent, 3)
            self._write()
        except FAULTS as error:
            if no_space(error):
                raise
            # Whatever else goes wrong here does so once more where it is told.

    def _train(self, stage: Stage) -> None:
        """Do a stage that needs the run alone, once for all snapshots."""
        if any(stage.name in stages for stages in self.left.values()) or self._lacks_weights():
            with self._timed(stage.name):
                kept = self.record
                try:
                    stage.do(self.work, END, self.assignment.wanted.at(END, stage.name))
                finally:
                    # A record that was begun anew is of other weights than what was done before.
                    self.before = self.before if self.record is kept else None
        elif self.suspect:
            self.record.init = self.work.write_init(self.work.initial_model())

    def _lacks_weights(self) -> bool:
        """Return whether something is left to do with weights that are not there any more."""
        return any(
            self._begins_from_weights(stage, snapshot) and not stage.finds_weights(self.work, snapshot)
            for snapshot, stages in self.left.items()
            for stage in self.stages
            if stage.name in stages
        )

    def _begins_from_weights(self, stage: Stage, snapshot: str) -> bool:
        return stage.needs == "weights" or not self.work.stores_predictions(snapshot)

    def _do(self, stage: Stage, snapshot: str, missing: Mapping[str, Stamp]) -> None:
        """Do a stage at a snapshot; one that fails costs what it would have found, and what is made of that."""
        try:
            found = stage.do(self.work, snapshot, missing)
            entries = {key: self.work.stored(stage.name, snapshot, key, result) for key, result in found.items()}
        except (Diverged, NotFinite):
            raise
        except FAULTS as error:
            # Without predictions at its end there is no run; what is known of that end outlives all else.
            if no_space(error) or (stage.gives and snapshot == END):
                raise
            for key in missing:
                self.work.fail(snapshot, key, error)
            return
        if stage.gives:
            self._forget_made_of(stage, snapshot, conditions_alone=entries.keys() <= {UNDER})
        for key, entry in entries.items():
            self.record.keep(snapshot, stage.name, key, entry)

    def _forget_made_of(self, giver: Stage, snapshot: str, *, conditions_alone: bool) -> None:
        """Let go of what was made of what a stage has found anew; stamps tell what was read under conditions."""
        for stage in self.stages:
            if stage.needs == giver.gives and not (conditions_alone and stage.stamps_conditions):
                self.record.snapshots.get(snapshot, {}).pop(stage.name, None)
        self.work.forget_predictions()

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        before = self.record.timings.get(name, 0.0) if name in self.done else 0.0
        yield
        self.record.timings[name] = round(before + time.perf_counter() - started, 3)
        self.done += [name] if name not in self.done else []

    def _diverge(self, reason: str) -> None:
        """Let the record tell of a training that diverged, and of nothing else."""
        self.work.record = self.record.of_training()
        self.record.state, self.record.reason = "diverged", reason

    def _write(self) -> None:
        record = self.record
        record.spec = plain(self.work.run.model_dump())
        record.coordinates = plain(self.assignment.coordinates[self.folder.run_id])
        record.forget_unused()
        if self.suspect and WEIGHTS in record.files:
            self.folder.write_trained(record)
        elif self.suspect:
            self.folder.remove(TRAINED)
        self.folder.write_record(record)
        for name in self.sealed - record.files.keys():
            # Of a result that is not known any more, such as predictions of weights that were made anew since.
            self.folder.remove(name)
        if record.state in FINAL:
            # Until now it was the one place where weights kept on the way were told from those of other matched losses.
            self.folder.remove(CHECKPOINT)
