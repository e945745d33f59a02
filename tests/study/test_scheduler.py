"""One schedule for every pool: jobs in order, no more than there is room for, and none lost."""

from __future__ import annotations

import contextlib

import pytest

from sharpscope.study.executors import scheduler
from sharpscope.study.executors.scheduler import schedule
from sharpscope.study.work.assignment import Outcome


class FakePool:
    """Does one job when it is asked for news; a run is busy as often as its name has stars."""

    def __init__(self, room):
        self.room = room
        self.pending = []
        self.seen = {}
        self.most = 0
        self.closed = False

    def has_room(self):
        return len(self.pending) < self.room

    def is_busy(self):
        return bool(self.pending)

    def submit(self, job):
        assert self.has_room()
        self.pending.append(job)
        self.most = max(self.most, len(self.pending))

    def next_events(self):
        return [self.outcome(run_id) for run_id in self.pending.pop(0)] if self.pending else []

    def outcome(self, run_id):
        self.seen[run_id] = self.seen.get(run_id, 0) + 1
        return Outcome(run_id, "busy" if self.seen[run_id] <= run_id.count("*") else "done")

    def close(self):
        self.closed = True


@pytest.mark.parametrize("room", [1, 2, 9])
def test_every_run_is_handed_out_in_order_and_ends_once(room, monkeypatch):
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)
    pool = FakePool(room)
    jobs = [("a", "b"), ("c**",), ("d",), ("e*", "f")]
    events = list(schedule(jobs, lambda: pool))
    ended = [event.run_id for event in events if isinstance(event, Outcome)]
    started = [event for event in events if isinstance(event, str)]
    assert sorted(ended) == ["a", "b", "c**", "d", "e*", "f"]
    assert list(dict.fromkeys(started)) == ["a", "b", "c**", "d", "e*", "f"]
    # A run that another command is at work on is handed out again, alone.
    assert (started.count("c**"), started.count("e*"), started.count("f")) == (3, 2, 1)
    assert pool.most == min(room, 4)
    assert pool.closed


def test_a_pool_is_made_with_the_first_job_and_closed_with_the_iterator():
    pools = []

    def make():
        pools.append(FakePool(2))
        return pools[0]

    events = schedule([("a",), ("b",), ("c",)], make)
    assert not pools
    with contextlib.closing(events):
        assert next(events) == "a"
    assert pools[0].closed


def test_a_pool_is_closed_where_a_worker_was_interrupted(monkeypatch):
    pool = FakePool(1)

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "next_events", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(schedule([("a",)], lambda: pool))
    assert pool.closed


def test_busy_runs_of_a_job_stay_together(monkeypatch):
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)

    class Watched(FakePool):
        def submit(self, job):
            super().submit(job)
            jobs.append(job)

    jobs = []
    ended = list(schedule([("a*", "b", "c*"), ("d",)], lambda: Watched(2)))
    assert {event.run_id for event in ended if isinstance(event, Outcome)} == {"a*", "b", "c*", "d"}
    assert jobs == [("a*", "b", "c*"), ("d",), ("a*", "c*")]
