"""Running a plan: what is done already is kept, the rest is handed to an executor, and all is written down."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, cast

from sharpscope.store.files import Damaged
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.store.record import Record
from sharpscope.study.executors import EXECUTORS
from sharpscope.study.planning.plan import Plan
from sharpscope.study.work.assignment import Advance, Assignment, Event, Outcome, check_same
from sharpscope.study.work.devices import CPU


class ProgressListener(Protocol):
    """Someone who is told how a study goes."""

    def begin(self, total: int, kept: int) -> None:
        """Work begins on ``total`` runs, of which ``kept`` were done before."""

    def started(self, run_id: str, label: str) -> None:
        """Work on a run begins."""

    def advanced(self, advance: Advance, label: str) -> None:
        """A training has come further; the label is that of the first of its runs."""

    def ended(self, outcome: Outcome, label: str) -> None:
        """Work on a run has ended."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


@dataclass
class Summary:
    """How a study went.

    Attributes:
        total: Runs in the grid.
        kept: Those that were settled before.
        done: Those that are done now, the kept ones among them.
        incomplete: Done ones that lack a measure or score.
        failed: Those that failed.
        diverged: Those that diverged, now or before.
        failed_pairs: Scores of pairs of runs that failed.
    """

    total: int
    kept: int = 0
    done: int = 0
    incomplete: int = 0
    failed: int = 0
    diverged: int = 0
    failed_pairs: int = 0

    def count(self, state: str, *, incomplete: bool = False) -> None:
        """Count one run."""
        setattr(self, state, getattr(self, state) + 1)
        self.incomplete += incomplete

    @property
    def whole(self) -> bool:
        """Whether everything that was wanted is there."""
        return not (self.failed or self.incomplete or self.failed_pairs)

    def __str__(self) -> str:
        lacking = f", {self.incomplete} of them not wholly" if self.incomplete else ""
        diverged = f", {self.diverged} diverged, which is their result" if self.diverged else ""
        failed = f", {self.failed} failed" if self.failed else ""
        several = "s" if self.failed_pairs > 1 else ""
        pairs = f", {self.failed_pairs} score{several} of pairs failed" if self.failed_pairs else ""
        return f"{self.done} of {self.total} runs done{lacking}{diverged}{failed}{pairs}"


def run_study(
    plan: Plan,
    store: Store,
    listener: ProgressListener,
    *,
    executor: str = "local",
    workers: int | None = None,
    device: str = CPU,
) -> Summary:
    """Run a study, or what is left of it.

    Args:
        plan: The study.
        store: Where to keep it.
        listener: Is told how it goes.
        executor: A name in ``EXECUTORS``.
        workers: Number of processes; the executor's own choice when None.
        device: Where each run computes.

    Raises:
        KeyboardInterrupt: When interrupted; what was done is kept.
    """
    member = EXECUTORS[executor]
    options = member.complete({} if workers is None else {"workers": workers})
    summary = Summary(len(plan.runs))
    _check_data(plan, store)
    with store.in_use(plan.catalog) as notes:
        store.write_command([*plan.command, *(() if device == CPU else ("--device", device))])
        store.tidy()
        _check_data(plan, store)
        todo = _unsettled(plan, store, summary)
        for note in (*plan.notes, *notes):
            listener.note(note)
        listener.begin(summary.total, summary.kept)
        jobs = [left for job in plan.jobs if (left := tuple(run_id for run_id in job if run_id in todo))]
        if jobs:
            events = cast("Generator[Event]", member(jobs, assignment_of(plan, store, device), **options))
            labels = _labels(plan)
            with contextlib.closing(events):
                for event in events:
                    if isinstance(event, Outcome):
                        summary.count(event.state, incomplete=bool(event.missing))
                        listener.ended(event, labels[event.run_id])
                        _see_that_others_can_go_on(event, summary, store)
                    elif isinstance(event, Advance):
                        listener.advanced(event, labels[event.run_ids[0]])
                    else:
                        listener.started(event, labels[event])
        with store.reporting():
            pairs = update_pairs(store)
        for note in pairs.notes:
            listener.note(note)
        summary.failed_pairs = len(pairs.failed)
    return summary


def _see_that_others_can_go_on(outcome: Outcome, summary: Summary, store: Store) -> None:
    """Hand out no more runs where each would train, and then find no room for what it found.

    Raises:
        OSError: If the disk is full.
    """
    if outcome.halt:
        message = f"{outcome.halt}; free some there, and the same command goes on ({summary}, in {store.path})"
        raise OSError(errno.ENOSPC, message)


def assignment_of(plan: Plan, store: Store, device: str = CPU) -> Assignment:
    """Return what a process needs to do the runs of a plan."""
    coordinates: dict[str, dict[str, Any]] = {
        point.run.id: {"regime": point.run.regime.label, "seed": point.run.seed, **point.coordinates}
        for point in plan.points
    }
    directory = store.path.resolve()
    data = {run_id: plan.dataset_of(run).digest for run_id, run in plan.runs.items()}
    return Assignment(
        directory,
        plan.runs,
        coordinates,
        plan.wanted,
        data,
        plan.study.plugins,
        plan.data_dir,
        device,
        references=plan.references,
        packs=plan.packs,
    )


def _check_data(plan: Plan, store: Store) -> None:
    """See that what is stored was made from the data that are there now.

    Raises:
        DataError: If a dataset has changed.
    """
    for run_id, run in plan.runs.items():
        with contextlib.suppress(Damaged):
            record = store.run(run_id).read_record()
            if record is not None:
                check_same(run.data.name, {record.data, plan.dataset_of(run).digest})


def _unsettled(plan: Plan, store: Store, summary: Summary) -> set[str]:
    """Return the runs that have something left to do, and count the others."""
    todo = set()
    for run_id, (record, sound) in known_records(plan, store).items():
        if sound and record.settled(plan.wanted):
            summary.kept += 1
            summary.count(record.state)
        else:
            todo.add(run_id)
    return todo


def known_records(plan: Plan, store: Store) -> dict[str, tuple[Record, bool]]:
    """Return what is known of each run, and whether all its files are as they were written; all of them are read.

    A result whose file is damaged is left to do by its record.
    """

    def known(run_id: str) -> tuple[Record, bool]:
        # The process that makes it again reports what was damaged.
        record, faults, others = store.run(run_id).look()
        record.files = {name: seal for name, seal in record.files.items() if name not in faults}
        return record, not (faults or others)

    # Threads, since checksums leave the interpreter to others.
    with ThreadPoolExecutor() as pool:
        return dict(zip(plan.runs, pool.map(known, plan.runs), strict=True))


def _labels(plan: Plan) -> dict[str, str]:
    """Return runs in words: "sam, seed 3, training.lr = 0.1"."""
    return {point.run.id: point.described(f"seed {point.run.seed}") for point in plan.points}
