"""Jobs as tasks of a Ray cluster. Ray is imported when a study asks for it, so that nothing else needs it.

A task does one job in one process with one thread, as a local worker does, and writes into the folder of the study;
what it returns is only how the runs ended. So nothing is lost with a task, a driver or a cluster, and a task that is
begun again keeps the runs of its job that were finished.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sharpscope.errors import SharpscopeError, one_line
from sharpscope.extras import optional
from sharpscope.study.executors.scheduler import POLL_SECONDS, Job, schedule
from sharpscope.study.work.assignment import Advance, Assignment, Event, Outcome, record_failure
from sharpscope.study.work.executors import EXECUTORS

if TYPE_CHECKING:
    from sharpscope.study.work.data_cache import DataCache


@EXECUTORS.register("ray")
def on_ray(
    jobs: Sequence[Sequence[str]],
    assignment: Assignment,
    *,
    workers: int | None = None,
    max_retries: Annotated[int, Field(ge=0)] = 2,
) -> Iterator[Event]:
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
    return schedule(jobs, partial(RayPool, module, assignment, workers, max_retries))


def perform_job(job: Sequence[str], assignment: Assignment) -> list[Outcome]:
    """Do the runs of a job; the body of a task.

    Raises:
        SharpscopeError: If this machine does not see the folder of the study.
    """
    import torch

    from sharpscope.study.packs import execute_job
    from sharpscope.study.planning.plugins import load_plugins

    if not (assignment.directory / "study.yaml").is_file():
        raise SharpscopeError(
            f"a machine of the cluster does not see the folder {assignment.directory}; "
            "the executor 'ray' needs --out on a file system that all machines share"
        )
    torch.set_num_threads(1)
    load_plugins(assignment.plugins)
    return list(execute_job(job, assignment, _cache(assignment.data_dir)))


@cache
def _cache(data_dir: Path | None) -> DataCache:
    """Return the datasets that this process keeps from task to task."""
    from sharpscope.study.work.data_cache import DataCache

    return DataCache(data_dir)


class RayPool:
    """Tasks of a Ray cluster, which is started here where none is there.

    Args:
        ray: The module.
        assignment: What the jobs are about.
        workers: Tasks under way at a time; what the cluster has room for when None.
        max_retries: How often a task is begun again when its process has died.
    """

    def __init__(self, ray: Any, assignment: Assignment, workers: int | None, max_retries: int) -> None:
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            ray.init(log_to_driver=False)
        accelerated = assignment.device.startswith("cuda")
        options = {"num_cpus": 1, "num_gpus": int(accelerated), "max_retries": max_retries}
        self._perform = ray.remote(**options)(perform_job)
        self._assignment = assignment
        # Once for all tasks: it names every run of the study.
        self._shared = ray.put(assignment)
        self._room = workers or max(1, int(ray.cluster_resources().get("GPU" if accelerated else "CPU", 1)))
        self._pending: dict[Any, Job] = {}

    def has_room(self) -> bool:
        """Return whether another task can be under way."""
        return len(self._pending) < self._room

    def is_busy(self) -> bool:
        """Return whether tasks are under way."""
        return bool(self._pending)

    def submit(self, job: Job) -> None:
        """Hand out a job."""
        self._pending[self._perform.remote(tuple(job), self._shared)] = job

    def next_events(self) -> list[Outcome | Advance]:
        """Wait for tasks and return how their runs ended; the runs of a task that broke have failed."""
        if not self._pending:
            time.sleep(POLL_SECONDS)
            return []
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=POLL_SECONDS)
        outcomes: list[Outcome | Advance] = []
        for task in ready:
            job = self._pending.pop(task)
            try:
                outcomes += self._ray.get(task)
            except Exception as error:  # noqa: BLE001 - whatever ends a task is the failure of its runs
                # What the task itself raised is the cause; else Ray tells what became of its process.
                reason = one_line(getattr(error, "cause", None) or error)
                outcomes += [record_failure(run_id, self._assignment, reason) for run_id in job]
        return outcomes

    def close(self) -> None:
        """End all tasks at once, and the cluster if it was started here."""
        for task in self._pending:
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)
        if self._ours:
            self._ray.shutdown()
