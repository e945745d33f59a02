"""What a user sees of a study under way, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sharpscope.store.folder import Store
from sharpscope.study.execution import execute
from sharpscope.study.executors import workers
from sharpscope.study.packs import execute_job
from sharpscope.study.planning.plan import Plan
from sharpscope.study.run import progress
from sharpscope.study.run.engine import assignment_of, run_study
from sharpscope.study.run.progress import Bar, Lines
from sharpscope.study.work.assignment import Advance, Outcome
from sharpscope.study.work.data_cache import DataCache

from .conftest import ALONE, Heard

PACK = tuple(f"run{number}" for number in range(100))
PACKS = [tuple(f"{pack}-{number}" for number in range(100)) for pack in range(2)]


class Time:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    for module in (progress, workers):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def lines() -> tuple[Lines, Callable[[], list[str]]]:
    stream = io.StringIO()

    def news() -> list[str]:
        told = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return told

    return Lines(stream), news


def done(run_id: str, seconds: float, training: float = 0.0) -> Outcome:
    return Outcome(run_id, "done", stages=("training",), seconds=seconds, training=training)


def hand_out(told: Lines, pack: tuple[str, ...]) -> None:
    for run_id in pack:
        told.started(run_id, "baseline")


def test_runs_one_by_one_are_forecast_by_those_that_ended(time, lines):
    told, news = lines
    told.begin(41, 0)
    for number in range(4):
        # Two processes, 60 seconds a run.
        time.now += 30
        told.ended(done(f"run{number}", 60.0), "baseline")
    assert "[about 18 min left]" in news()[-1]


def test_runs_trained_together_are_forecast_by_their_shares(time, lines):
    told, news = lines
    told.begin(1000, 0)
    time.now += 500
    for number, run_id in enumerate(PACK, start=1):
        time.now += 1
        told.ended(done(run_id, 6.0), "baseline")
        if number == 1:
            # Not 999 times the 500 seconds in which a hundred were trained.
            assert "[about 1.7 h left]" in news()[-1]
    assert "[about 1.5 h left]" in news()[-1]


def test_packs_are_forecast_by_how_far_their_trainings_have_come(time, lines):
    told, news = lines
    told.begin(200, 0)
    for pack in PACKS:
        hand_out(told, pack)
        time.now += 400
        told.advanced(Advance(pack, 8, 10), "baseline")
        if pack is PACKS[1]:
            # A fifth of its training, and a second for each of its runs: it does not stand still while they train.
            assert told._clock.remaining == "about 3 min left"
        time.now += 100
        told.advanced(Advance(pack, 10, 10), "baseline")
        for run_id in pack:
            time.now += 1
            told.ended(done(run_id, 6.0, training=5.0), "baseline")
    assert news()[99].endswith("[about 10 min left]")


def test_packs_that_are_trained_at_once_are_forecast_by_what_is_left_of_them(time, lines):
    told, news = lines
    told.begin(200, 0)
    for pack in PACKS:
        hand_out(told, pack)
    time.now += 500
    for pack in PACKS:
        told.advanced(Advance(pack, 10, 10), "baseline")
    time.now += 1
    told.ended(done(PACKS[0][0], 6.0, training=5.0), "baseline")
    # A second of each of a hundred runs in two processes: not 199 times 6 seconds.
    assert news()[-1].endswith("[about 2 min left]")


def test_runs_under_way_in_other_processes_count_when_the_first_one_ends(time, lines):
    told, news = lines
    told.begin(80, 0)
    for number in range(8):
        told.started(f"run{number}", "baseline")
    time.now += 60
    for number in range(1, 8):
        told.advanced(Advance((f"run{number}",), 9, 10), "baseline")
    told.ended(done("run0", 60.0, training=60.0), "baseline")
    # Ten rounds of a minute each, of which the first one is nearly done: not 79 minutes.
    assert "[about 10 min left]" in news()[-1]


def test_runs_that_another_command_did_count_by_the_time_they_took(time, lines):
    told, news = lines
    told.begin(10, 0)
    time.now += 300
    told.ended(Outcome("run0", "done", seconds=0.0), "baseline")
    assert "by another command (baseline) [about 45 min left]" in news()[-1]


def test_a_long_training_is_told_of_a_few_times(time, lines):
    told, news = lines
    told.begin(101, 0)
    for run_id in (*PACK, "alone"):
        told.started(run_id, "baseline")
    news()
    for epoch in range(1, 20_001):
        time.now += 0.02
        told.advanced(Advance(PACK, epoch, 20_000), "baseline")
    together = news()
    assert together[0] == "100 runs in training together: epoch 2,000 of 20,000"
    assert len(together) == 10
    for epoch in (1, 2):
        told.advanced(Advance(("alone",), epoch, 4), "sam, seed 3")
        time.now += 60
    assert news() == ["alone in training (sam, seed 3): epoch 2 of 4"]


def test_a_short_training_is_not_told_of_however_long_it_waited(time, lines):
    told, news = lines
    told.begin(1, 0)
    told.started("run", "baseline")
    time.now += 1000
    news()
    for epoch in range(1, 101):
        time.now += 0.2
        told.advanced(Advance(("run",), epoch, 100), "baseline")
    assert news() == []


def test_a_bar_has_the_share_that_is_trained(time):
    bar = Bar(Console(file=io.StringIO(), width=200))
    bar.begin(4, 0)
    for run_id in ("a", "b", "c", "d"):
        bar.started(run_id, "baseline")
    assert state(bar) == "4 running, time left unknown"
    bar.advanced(Advance(("a", "b"), 5, 10), "baseline")
    assert state(bar) == "4 running (25% trained), time left unknown"
    time.now += 10
    bar.ended(done("a", 10.0), "baseline")
    bar.advanced(Advance(("a", "b"), 10, 10), "baseline")
    assert state(bar) == "3 running (33% trained), about 30 s left"
    bar.close()


@pytest.mark.parametrize("width", [80, 160])
def test_no_word_of_a_bar_is_cut(time, width):
    stream = io.StringIO()
    bar = Bar(Console(file=stream, width=width, force_terminal=True))
    bar.begin(1100, 0)
    for run_id in (*PACK, "other"):
        bar.started(run_id, "baseline")
    time.now += 10_000
    bar.ended(Outcome("other", "failed", seconds=30.0), "baseline")
    bar.advanced(Advance(PACK, 5, 10), "baseline")
    bar.close()
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "1/1100 1 failed, 100 running (50% trained), about 9.2 h left 0:00:0" in told


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_bar_on_a_narrow_terminal_keeps_the_number_of_runs_done(width):
    console = Console(file=io.StringIO(), width=width)
    bar = Bar(console)
    bar.begin(240, 3)
    for run_id in PACK:
        bar.started(run_id, "baseline")
    bar.ended(done(PACK[0], 10.0), "baseline")
    bar.close()
    with console.capture() as shown:
        console.print(bar._progress)
    assert "4/240" in shown.get()


def state(bar: Bar) -> str:
    told: str = bar._progress.tasks[0].fields["state"]
    return told


def test_a_worker_tells_of_a_training_now_and_then_and_outlives_that_no_one_listens(time):
    told: list[Advance] = []
    report = workers._Seldom(told.append)
    for epoch in range(1, 12):
        report(Advance(("run",), epoch, 11))
        time.now += 0.2
    assert [advance.epoch for advance in told] == [1, 4, 7, 10, 11]

    def gone(advance: Advance) -> None:
        raise BrokenPipeError

    workers._Seldom(gone)(told[0])


def test_each_epoch_is_reported_of_trainings_alone_and_together(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    for number, model in enumerate((None, ALONE)):
        plan = plan_of(regimes=["baseline"], grid={"seed": 3}, **({"model": model} if model else {}))
        store, told = Store(tmp_path / str(number)), []
        store.write_catalog(plan.catalog)
        for job in plan.jobs:
            list(execute_job(job, assignment_of(plan, store), DataCache(None), told.append))
        epochs = next(iter(plan.runs.values())).training.epochs
        expected = [[run_id] for run_id in plan.runs] if model else [sorted(plan.runs)]
        assert [(sorted(advance.run_ids), advance.epoch, advance.epochs) for advance in told] == [
            (run_ids, epoch, epochs) for run_ids in expected for epoch in range(1, epochs + 1)
        ]


def test_a_member_of_a_pack_that_is_trained_by_itself_is_reported(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, told = plan_of(regimes=["baseline"], grid={"seed": 2}), []
    store = Store(tmp_path)
    first = next(iter(plan.runs))
    execute(first, assignment_of(plan, store), DataCache(None), told.append)
    assert {advance.run_ids for advance in told} == {(first,)}


def test_processes_report_to_the_listener(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, heard = plan_of(regimes=["baseline"], grid={"seed": 3}), Heard()
    run_study(plan, Store(tmp_path), heard, workers=1)
    assert len(heard.outcomes) == 3
    assert heard.advances
    assert sorted(heard.advances[0].run_ids) == sorted(plan.runs)
