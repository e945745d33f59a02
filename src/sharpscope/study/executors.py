"""Where the jobs of a study are done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sharpscope.registry import Registry
from sharpscope.study.assignment import Assignment, Outcome
from sharpscope.study.workers import run_jobs

# An executor is ``(jobs, assignment, *, options) -> iterator``: it yields the id of a run when work on it begins and
# its Outcome when that ends; when it is closed, all work ends at once.
EXECUTORS: Registry = Registry("executor")


@EXECUTORS.register()
def local(
    jobs: Sequence[Sequence[str]], assignment: Assignment, *, workers: int | None = None
) -> Iterator[str | Outcome]:
    """Processes of one thread each on this machine, by default one a core.

    Results do not depend on the number of workers: each run is done by one process with one thread.

    Args:
        jobs: Lists of run ids.
        assignment: What they are about.
        workers: Number of processes; as many as there are cores for this process when None.
    """
    return run_jobs(jobs, assignment, max(1, min(workers or cores(), len(jobs))))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
