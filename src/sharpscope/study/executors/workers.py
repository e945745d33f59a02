"""One process a core: work is handed out a job at a time, and a process that dies takes nothing but its job with it.

Imports nothing heavy: a worker must set its number of threads before NumPy and torch are loaded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING

from sharpscope.errors import SpecError
from sharpscope.interruption import INTERRUPTED
from sharpscope.streams import keep_writing
from sharpscope.study.executors.scheduler import POLL_SECONDS, Job

if TYPE_CHECKING:
    from sharpscope.study.work.assignment import Advance, Assignment, Outcome

# What a worker process begins with, where the user has not said otherwise. One thread each. And memory that glibc
# keeps: it would give large tensors back to the system and get them anew page by page, a fifth of the time of a step.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
}


def work(connection: Connection, pickled_assignment: bytes) -> None:
    """Do jobs until there are no more; the main function of a worker process.

    Args:
        connection: Jobs come in, outcomes go out.
        pickled_assignment: Pickled, since reading it imports torch.
    """
    # An interruption is the parent's to handle; it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_writing()
    threading.Thread(target=_die_with_parent, daemon=True).start()

    import torch

    from sharpscope.study.packs import execute_job
    from sharpscope.study.work.assignment import record_failure
    from sharpscope.study.work.data_cache import DataCache

    torch.set_num_threads(1)
    assignment: Assignment = pickle.loads(pickled_assignment)
    cache, report = DataCache(assignment.data_dir), _Seldom(connection.send)
    try:
        broken = _broken_plugin(assignment)
        while (job := connection.recv()) is not None:
            failed = (record_failure(run_id, assignment, broken) for run_id in job)
            for outcome in failed if broken else execute_job(job, assignment, cache, report):
                connection.send(outcome)
    except KeyboardInterrupt:
        # The user's own code raised it, or made it be raised again; it means what it means elsewhere.
        os._exit(INTERRUPTED)


class _Seldom:
    """Passes on how far a training has come, but not every time: an epoch may take less than telling of it.

    Its end is always passed on, else a short training looks unfinished while its run is measured.

    Args:
        send: Is told.
    """

    def __init__(self, send: Callable[[Advance], None]) -> None:
        self._send = send
        self._due = 0.0

    def __call__(self, advance: Advance) -> None:
        """Pass it on, if the last time is long enough ago or the training is at its end."""
        now = time.monotonic()
        if now >= self._due or advance.epoch == advance.epochs:
            self._due = now + POLL_SECONDS
            # A parent that is gone takes this process with it; the training did not fail.
            with contextlib.suppress(OSError):
                self._send(advance)


def _broken_plugin(assignment: Assignment) -> str:
    """Import the plugins of a study; return what is wrong with one that works in no worker, though it did before."""
    from sharpscope.study.planning.plugins import load_plugins

    try:
        load_plugins(assignment.plugins)
    except SpecError as error:
        return error.message
    return ""


def _die_with_parent() -> None:
    """End this process when its parent is gone, however that ended; the sentinel is a pipe that the kernel closes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set the variables that a process reads when it starts, for the children that are started meanwhile."""
    missing = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


class _Worker:
    """A worker process as its parent sees it."""

    def __init__(self, context: SpawnContext, pickled_assignment: bytes) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, pickled_assignment), daemon=True)
        with _environment():
            self._process.start()
        # The end of the other side must be open in the child only, so that its death shows here.
        theirs.close()
        self.undone: list[str] = []
        self.interrupted = False

    def assign(self, job: Job) -> None:
        """Hand out a job."""
        self.undone = list(job)
        try:
            self.connection.send(tuple(job))
        except OSError:
            # It died; the next look at the connection shows that.
            return

    def kill(self) -> str:
        """End the process and return how it had ended, as far as it had."""
        self._process.join(timeout=1)
        code = self._process.exitcode
        self._process.kill()
        self._process.join()
        self.connection.close()
        self.interrupted = code == INTERRUPTED
        if code is not None and code < 0:
            killed = -code == getattr(signal, "SIGKILL", None)  # Windows has no such signal
            hint = "; the machine may have run out of memory" if killed else ""
            return f"the worker process died (signal {-code}{hint})"
        return f"the worker process ended with exit code {code}"

    def kill_now(self) -> None:
        """End the process without asking how it is."""
        self._process.kill()
        self._process.join()
        self.connection.close()


class WorkerPool:
    """Worker processes of this machine, started as there is work for them.

    Args:
        assignment: What the jobs are about.
        workers: The number of processes.
    """

    def __init__(self, assignment: Assignment, workers: int) -> None:
        self._assignment = assignment
        self._pickled = pickle.dumps(assignment)
        self._context = multiprocessing.get_context("spawn")
        self._workers = workers
        self._crew: list[_Worker] = []

    def has_room(self) -> bool:
        """Return whether a process is idle or can be started."""
        return len(self._crew) < self._workers or not all(worker.undone for worker in self._crew)

    def is_busy(self) -> bool:
        """Return whether a process is at work."""
        return any(worker.undone for worker in self._crew)

    def submit(self, job: Job) -> None:
        """Hand a job to a process that is idle, else to a new one."""
        idle = next((worker for worker in self._crew if not worker.undone), None)
        if idle is None:
            idle = _Worker(self._context, self._pickled)
            self._crew.append(idle)
        idle.assign(job)

    def next_events(self) -> list[Outcome | Advance]:
        """Wait for processes and return what they report; one that died is replaced and its job has failed.

        Raises:
            KeyboardInterrupt: If one was interrupted.
        """
        from sharpscope.study.work.assignment import Outcome, record_failure

        by_connection = {worker.connection: worker for worker in self._crew}
        events: list[Outcome | Advance] = []
        for connection in wait(list(by_connection), timeout=POLL_SECONDS):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                event = worker.connection.recv()
                if isinstance(event, Outcome):
                    worker.undone.remove(event.run_id)
                events.append(event)
            except (EOFError, OSError):
                self._crew.remove(worker)
                reason = worker.kill()
                if worker.interrupted:
                    raise KeyboardInterrupt from None
                events += [record_failure(run_id, self._assignment, reason) for run_id in worker.undone]
        return events

    def close(self) -> None:
        """End all processes."""
        for worker in self._crew:
            worker.kill_now()
