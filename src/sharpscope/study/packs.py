"""Doing a job: the runs of a pack are trained together, then each is done by itself."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sharpscope.errors import FAULTS, one_line
from sharpscope.files import no_space
from sharpscope.store.folder import Store
from sharpscope.store.locks import is_held, locked
from sharpscope.store.run_folder import CHECKPOINT, RECORD, TRAINED
from sharpscope.study.execution import Execution, broken, execute, finish
from sharpscope.study.stages import train
from sharpscope.study.work.assignment import Assignment, Outcome, Report, unheard
from sharpscope.study.work.data_cache import DataCache
from sharpscope.study.work.trained import Trained
from sharpscope.training import CheckpointError
from sharpscope.training.packs import members_in, take_over, train_pack


def execute_job(
    job: Sequence[str], assignment: Assignment, cache: DataCache, report: Report = unheard
) -> Iterator[Outcome]:
    """Do what is left of the runs of a job, in their order.

    Those that can be trained together are, before anything else is done of them; each keeps what it was given at once.

    Args:
        job: Run ids.
        assignment: What they are about.
        cache: What this process keeps from run to run.
        report: Called after each epoch of a training; it is to be quick.

    Yields:
        The outcome of each run; where the disk is full, that of the first one that found no room, and no more.
    """
    with contextlib.ExitStack() as leases:
        executions: dict[str, Execution | None] = {}
        for pack in dict.fromkeys(assignment.packs[run_id] for run_id in job if run_id in assignment.packs):
            members = [run_id for run_id in job if assignment.packs.get(run_id) == pack]
            started = time.perf_counter()
            try:
                executions |= _Trainer(pack, assignment, cache, leases, report).train(members)
            except FAULTS as error:
                if not no_space(error):
                    raise
                yield broken(members[0], error, started)
                return
        for run_id in job:
            if run_id not in executions:
                yield execute(run_id, assignment, cache, report)
                continue
            execution = executions.pop(run_id)
            yield Outcome(run_id, "busy") if execution is None else finish(execution)


class _Trainer:
    """Trains runs of a pack together, and keeps what that gives.

    Args:
        name: Of the pack.
        assignment: What the runs are about.
        cache: What this process keeps.
        leases: Keeps the leases of runs until they are done.
        report: Called after each epoch of a training.
    """

    def __init__(
        self, name: str, assignment: Assignment, cache: DataCache, leases: contextlib.ExitStack, report: Report
    ) -> None:
        self._store = Store(assignment.directory)
        self._folder = self._store.pack(name)
        self._assignment = assignment
        self._cache = cache
        self._leases = leases
        self._report = report

    def train(self, members: Sequence[str]) -> dict[str, Execution | None]:
        """Train the members that are to be trained.

        Returns:
            Those members, by their ids; None for each that another process is at work on. One that cannot be looked at
            is not among them: it is told where it is done by itself.

        Raises:
            OSError: If the disk is full, or what came of that; what was trained stays in the folder of the pack.
        """
        found: dict[str, Execution | None] = {}
        for run_id in members:
            with contextlib.suppress(*FAULTS):
                found[run_id] = self._execution(run_id)
        waiting = {run_id: execution for run_id, execution in found.items() if execution is not None}
        executions = {run_id: execution for run_id, execution in waiting.items() if execution.untrained}
        busy: dict[str, Execution | None] = dict.fromkeys(found.keys() - waiting.keys())
        if not executions and not self._folder.exists():
            return {**busy, **waiting}
        with locked(self._folder / ".lock") as held:
            if not held:
                return dict.fromkeys(found) if executions else {**busy, **waiting}
            try:
                self._train(executions)
            except FAULTS as error:
                # Each would train by itself, and then find no room either.
                if no_space(error):
                    raise
                # What goes wrong with one of them does so once more where it is done by itself, and is told there.
                if (first := next(iter(executions.values()), None)) is not None:
                    first.work.note(f"its pack cannot be trained together ({one_line(error)})", "each run is by itself")
            # Also what a process left that was killed when all its members had been kept.
            shutil.rmtree(self._folder, ignore_errors=True)
        return {**busy, **waiting}

    def _execution(self, run_id: str) -> Execution | None:
        folder = self._store.run(run_id)
        with contextlib.ExitStack() as lease:
            if not lease.enter_context(folder.lease()):
                return None
            execution = Execution(folder, self._assignment, self._cache, self._report)
            execution.look()
            self._leases.enter_context(lease.pop_all())
        return execution

    def _train(self, executions: dict[str, Execution]) -> None:
        """Train runs from where they were when a process was killed, whatever pack they were in then."""
        own, left = self._folder / CHECKPOINT, dict(executions)
        for path in (own, *(self._left_behind() if left else ())):
            try:
                named = members_in(path)
                if some := {run_id: left[run_id] for run_id in left if run_id in named}:
                    if path != own:
                        take_over(path, some.keys(), own)
                    self._train_together(own, some)
                    left = {run_id: execution for run_id, execution in left.items() if run_id not in some}
            except CheckpointError as error:
                if path == own and left:
                    next(iter(left.values())).work.note(error, "its pack is trained from the start")
            own.unlink(missing_ok=True)
            if path != own and not self._is_needed(path):
                shutil.rmtree(path.parent, ignore_errors=True)
        if left:
            self._train_together(own, left)

    def _left_behind(self) -> list[Path]:
        """Return the checkpoints of other packs that no process is at work on, as where a study had fewer seeds."""
        found = sorted(self._folder.parent.glob(f"*/{CHECKPOINT}"))
        return [path for path in found if path.parent != self._folder and not is_held(path.parent / ".lock")]

    def _is_needed(self, checkpoint: Path) -> bool:
        """Return whether a run may still go on from the checkpoint of a pack."""
        try:
            named = members_in(checkpoint)
        except CheckpointError:
            return False
        folders = [self._store.run(run_id).path for run_id in named]
        return not all((folder / TRAINED).exists() or (folder / RECORD).exists() for folder in folders)

    def _train_together(self, path: Path, executions: dict[str, Execution]) -> None:
        started = time.perf_counter()
        # Those on the same data one after the other, so that these are loaded once.
        by_data = sorted(executions.values(), key=lambda execution: execution.work.run.data.model_dump_json())
        members = [train.member_of(execution.work, execution.work.initial_model()) for execution in by_data]
        settings: dict[str, Any] = {"device": self._assignment.device, "checkpoint_pause": train.CHECKPOINT_PAUSE}
        tell = train.telling(members, self._report)
        for member, ended in train_pack(members, checkpoint=path, **settings, on_epoch=tell):
            seconds = (time.perf_counter() - started) / len(members)
            executions[member.name].keep(Trained(member.model, ended, seconds))
