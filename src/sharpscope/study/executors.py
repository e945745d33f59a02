"""Where the jobs of a study are done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from sharpscope.errors import SharpscopeError
from sharpscope.extras import optional
from sharpscope.registry import Registry
from sharpscope.study.assignment import Assignment, Outcome
from sharpscope.study.devices import CPU
from sharpscope.study.ray_executor import run_on_ray
from sharpscope.study.workers import run_jobs

# An executor is ``(jobs, assignment, *, options) -> iterator``: it yields the id of a run when work on it begins and
# its Outcome when that ends; when it is closed, all work ends at once.
EXECUTORS: Registry = Registry("executor")


@EXECUTORS.register()
def local(
    jobs: Sequence[Sequence[str]], assignment: Assignment, *, workers: int | None = None
) -> Iterator[str | Outcome]:
    """Processes of one thread each on this machine, by default one a core, or one for an accelerator.

    Results do not depend on the number of workers: each run is done by one process with one thread.

    Args:
        jobs: Lists of run ids.
        assignment: What they are about.
        workers: Number of processes; when None, as many as there are cores for this process, and one on an
            accelerator, which a single run fills.
    """
    return run_jobs(jobs, assignment, max(1, min(workers or usual_workers(assignment.device), len(jobs))))


@EXECUTORS.register()
def ray(
    jobs: Sequence[Sequence[str]],
    assignment: Assignment,
    *,
    workers: int | None = None,
    max_retries: Annotated[int, Field(ge=0)] = 2,
) -> Iterator[str | Outcome]:
    """Tasks on a Ray cluster, a job each: the one that RAY_ADDRESS names, else one on this machine.

    Results go through the folder of the study and the data through ``--data-dir`` or the cache, so both must be on a
    file system that all machines share; a machine that does not see the folder fails its runs with that reason.

    Args:
        jobs: Lists of run ids.
        assignment: What they are about.
        workers: Jobs under way at a time; as many as the cluster has processors for, or accelerators, when None.
        max_retries: How often a job is begun again on another worker when its own has died.

    Raises:
        SharpscopeError: If Ray is not installed.
    """
    module = optional("ray", "ray", "the executor 'ray'", SharpscopeError)
    return run_on_ray(module, jobs, assignment, workers, max_retries)


def usual_workers(device: str) -> int:
    """Return how many local processes share a device where the user does not say."""
    return cores() if device == CPU else 1


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
