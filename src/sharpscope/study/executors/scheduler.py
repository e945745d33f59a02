"""Handing out jobs: one schedule for every pool of workers, wherever these are. Imports nothing heavy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sharpscope.study.work.assignment import Advance, Event, Outcome

Job = Sequence[str]

# Seconds between looks at a run that another command is at work on, and the longest wait for news of a pool.
POLL_SECONDS = 0.5


class Pool(Protocol):
    """Workers that do jobs, each a list of run ids that one of them does in this order."""

    def has_room(self) -> bool:
        """Return whether a job can be handed out now."""

    def is_busy(self) -> bool:
        """Return whether jobs are under way."""

    def submit(self, job: Job) -> None:
        """Hand out a job; there is room for it."""

    def next_events(self) -> list[Outcome | Advance]:
        """Wait for at most ``POLL_SECONDS`` and return how runs have ended and how far trainings have come.

        The runs of a worker that broke have failed.

        Raises:
            KeyboardInterrupt: If a worker was interrupted.
        """

    def close(self) -> None:
        """End all work at once."""


def schedule(jobs: Sequence[Job], make_pool: Callable[[], Pool]) -> Iterator[Event]:
    """Do jobs in a pool; a run that another command is at work on is looked at again later.

    Args:
        jobs: In the order in which they are handed out.
        make_pool: Called when the first job is asked for; the pool is closed with the iterator.

    Yields:
        The id of a run when it is handed out, how far its training has come, its outcome when it ends; in between
        those of others.
    """
    from sharpscope.study.work.assignment import Advance

    queue: deque[Job] = deque(jobs)
    postponed: list[tuple[float, Job]] = []
    # Runs that a pool is at work on, and those of the same job that are busy: what was to be done together stays so.
    under_way: dict[str, Job] = {}
    busy: dict[Job, list[str]] = {}
    pool = make_pool()
    try:
        while queue or postponed or pool.is_busy():
            now = time.monotonic()
            queue.extend(job for due, job in postponed if due <= now)
            postponed = [(due, job) for due, job in postponed if due > now]
            while queue and pool.has_room():
                job = queue.popleft()
                pool.submit(job)
                under_way |= dict.fromkeys(job, job)
                yield from job
            for outcome in pool.next_events():
                if isinstance(outcome, Advance):
                    yield outcome
                    continue
                job = under_way.pop(outcome.run_id)
                if outcome.state == "busy":
                    busy.setdefault(job, []).append(outcome.run_id)
                else:
                    yield outcome
                if job in busy and not any(run_id in under_way for run_id in job):
                    postponed.append((now + POLL_SECONDS, tuple(busy.pop(job))))
    finally:
        pool.close()
