"""Jobs in processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sharpscope.study.executors.scheduler import schedule
from sharpscope.study.executors.workers import WorkerPool
from sharpscope.study.work.assignment import Assignment, Event
from sharpscope.study.work.devices import usual_workers
from sharpscope.study.work.executors import EXECUTORS


@EXECUTORS.register()
def local(jobs: Sequence[Sequence[str]], assignment: Assignment, *, workers: int | None = None) -> Iterator[Event]:
    """Processes of one thread each on this machine, by default one a core, or one for an accelerator.

    Results do not depend on the number of workers: each run is done by one process with one thread.

    Args:
        jobs: Lists of run ids.
        assignment: What they are about.
        workers: Number of processes; when None, as many as there are cores for this process, and one on an
            accelerator, which a single run fills.
    """
    count = max(1, min(workers or usual_workers(assignment.device), len(jobs)))
    return schedule(jobs, partial(WorkerPool, assignment, count))
