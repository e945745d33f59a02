"""The executor on Ray: with a small stand-in for Ray's interface, and with Ray itself where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from functools import partial

import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.errors import SharpscopeError
from sharpscope.store.folder import Store
from sharpscope.study.executors import EXECUTORS, scheduler
from sharpscope.study.executors import ray as on_ray
from sharpscope.study.executors.ray import RayPool
from sharpscope.study.run.engine import assignment_of
from sharpscope.study.work.assignment import Outcome

from .conftest import ALONE, finish, perform_all


def run_on_ray(ray, jobs, *settings):
    return scheduler.schedule(jobs, partial(RayPool, ray, *settings))


class FakeRay:
    """Does a task when it is waited for, in this process; has room for two at a time."""

    class TaskError(Exception):
        def __init__(self, cause):
            super().__init__("a long story")
            self.cause = cause

    def __init__(self, running=False):
        self.running = running
        self.most_waiting = 0
        self.log = []
        self.options = {}

    def is_initialized(self):
        return self.running

    def init(self, **options):
        self.log.append("init")

    def shutdown(self):
        self.log.append("shutdown")

    def cluster_resources(self):
        return {"CPU": 2.0, "GPU": 1.0}

    def put(self, value):
        return ("stored", value)

    def remote(self, **options):
        self.options = options

        def decorate(function):
            class Remote:
                @staticmethod
                def remote(job, stored):
                    return (job, lambda: function(job, stored[1]))

            return Remote

        return decorate

    def wait(self, tasks, num_returns, timeout):
        self.most_waiting = max(self.most_waiting, len(tasks))
        return tasks[:1], tasks[1:]

    def get(self, task):
        try:
            return task[1]()
        except Exception as error:
            raise self.TaskError(error) from error

    def cancel(self, task, force):
        self.log.append(("cancel", task[0], force))


@pytest.fixture
def prepared(plan_of, tmp_path):
    """A plan, its folder, and what a process is given to do the runs in it."""
    plan = plan_of(model=ALONE)
    store = Store(tmp_path / "out")
    store.write_catalog(plan.catalog)
    return plan, store, assignment_of(plan, store)


def test_tasks_do_what_local_processes_do(prepared, tmp_path):
    plan, store, assignment = prepared
    fake = FakeRay()
    events = list(run_on_ray(fake, plan.jobs, assignment, None, 3))
    outcomes = [event for event in events if isinstance(event, Outcome)]
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert [event for event in events if isinstance(event, str)] == list(plan.runs)
    assert fake.options == {"num_cpus": 1, "num_gpus": 0, "max_retries": 3}
    assert fake.most_waiting == 2
    assert fake.log == ["init", "shutdown"]
    local = Store(tmp_path / "local")
    perform_all(plan, local)
    assert load_ledger(store.path).equals(load_ledger(local.path))


def test_a_run_on_an_accelerator_takes_one_each(prepared):
    plan, _, assignment = prepared
    fake = FakeRay(running=True)
    events = run_on_ray(fake, plan.jobs, replace(assignment, device="cuda"), None, 0)
    next(events)
    assert fake.options["num_gpus"] == 1
    events.close()
    # A cluster that was there before is left alone; what was handed out is ended.
    assert fake.log == [("cancel", plan.jobs[0], True)]


def test_what_ends_a_task_is_the_failure_of_its_runs_alone(prepared, monkeypatch):
    plan, store, assignment = prepared
    victim = list(plan.runs)[1]
    perform_job = on_ray.perform_job

    def broken(job, assignment):
        if victim in job:
            raise MemoryError("no room")
        return perform_job(job, assignment)

    monkeypatch.setattr(on_ray, "perform_job", broken)
    outcomes = [event for event in run_on_ray(FakeRay(), plan.jobs, assignment, 1, 0) if isinstance(event, Outcome)]
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done"]
    assert store.run(victim).read_record().reason == "MemoryError: no room"


def test_a_run_that_another_command_is_at_is_asked_for_again(prepared, monkeypatch):
    plan, _, assignment = prepared
    perform_job, asked = on_ray.perform_job, []

    def busy_once(job, assignment):
        asked.append(job)
        return [Outcome(job[0], "busy")] if len(asked) == 1 else perform_job(job, assignment)

    monkeypatch.setattr(on_ray, "perform_job", busy_once)
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)
    outcomes = [event for event in run_on_ray(FakeRay(), plan.jobs, assignment, 2, 0) if isinstance(event, Outcome)]
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert len(outcomes) == 4
    assert asked.count(plan.jobs[0]) == 2


def test_a_machine_that_does_not_see_the_folder_says_so(prepared, tmp_path):
    plan, _, assignment = prepared
    with pytest.raises(SharpscopeError, match="file system that all machines share"):
        on_ray.perform_job(plan.jobs[0], replace(assignment, directory=tmp_path / "elsewhere"))


def test_ray_that_is_not_installed_is_told_with_its_extra(prepared, monkeypatch):
    plan, _, assignment = prepared
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SharpscopeError, match=r"needs the package ray .*pip install 'sharpscope\[ray\]'"):
        EXECUTORS["ray"](plan.jobs, assignment)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_study_on_ray_itself(study_file, tmp_path):
    study = study_file()
    for executor in ("ray", "local"):
        code, _, err = finish("run", study, "--out", tmp_path / executor, "--executor", executor, "--workers", 2)
        assert code == 0, err
    results = [(tmp_path / executor / "results.csv").read_bytes() for executor in ("ray", "local")]
    assert results[0] == results[1]
