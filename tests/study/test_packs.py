"""Runs that are trained together: one job, one checkpoint, and to every reader runs like others."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store
from sharpscope.store.run_folder import CHECKPOINT, RECORD, TRAINED, WEIGHTS
from sharpscope.study import packs
from sharpscope.study.packs import execute_job
from sharpscope.study.planning.plan import Plan
from sharpscope.study.run.engine import assignment_of
from sharpscope.study.run.forecast import forecast, show
from sharpscope.study.stages import train
from sharpscope.study.work.assignment import Outcome
from sharpscope.study.work.data_cache import DataCache
from sharpscope.training.packs import train_pack

from .conftest import ALONE, TINY, finish, perform_all, start

MATCHED = {"epochs": 4, "batch_size": 16, "checkpoints_at_loss": [2.25], "check_loss_every": 1}


def do(plan: Plan, store: Store) -> list[Outcome]:
    """Do all jobs of a plan in this process."""
    store.write_catalog(plan.catalog)
    assignment, cache = assignment_of(plan, store), DataCache(plan.data_dir)
    return [outcome for job in plan.jobs for outcome in execute_job(job, assignment, cache)]


def members(plan: Plan) -> list[list[str]]:
    return [
        [run_id for run_id in plan.runs if plan.packs.get(run_id) == pack]
        for pack in dict.fromkeys(plan.packs.values())
    ]


def test_runs_of_one_kind_are_a_job(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(grid={"seed": 3})
    assert [len(job) for job in plan.jobs] == [3, 3]
    assert [{plan.runs[run_id].regime.label for run_id in job} for job in plan.jobs] == [{"baseline"}, {"sam"}]
    assert members(plan) == [list(job) for job in plan.jobs]


def test_a_run_that_others_need_still_comes_before_them(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(grid={"seed": 3}, twins=["matched_confidence"])
    (job,) = plan.jobs
    assert [plan.runs[run_id].regime.label for run_id in job] == ["baseline", "sam"] * 3
    assert [len(pack) for pack in members(plan)] == [3, 3]


def test_runs_that_no_pack_takes_are_jobs_of_their_own(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of(model=ALONE)
    assert plan.packs == {}
    assert [len(job) for job in plan.jobs] == [1] * 4
    text = show(plan, forecast(plan, Store(tmp_path), 1))
    assert "4 runs are trained one by one: packs take none with a layer of type Dropout" in text


def test_a_pack_of_one_is_told_as_what_it_is(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    why = "no other run of the study could be in a pack with it"
    for epochs, told in (([1, 2], "2 runs are trained one by one"), ([1], "1 run is trained alone")):
        plan = plan_of(regimes=["baseline"], grid={"seed": 1, "training.epochs": epochs})
        text = show(plan, forecast(plan, Store(tmp_path), 1))
        assert f"  {told}: {why}" in text
        assert "together" not in text


def test_what_differs_in_numbers_and_data_is_trained_together(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    grid = {"seed": 2, "training.lr": [0.05, 0.1], "training.momentum": [0.0, 0.9]}
    plan = plan_of(regimes=["baseline", {"weight_decay": {"value": 0.01}}, "label_noise"], grid=grid)
    assert [len(job) for job in plan.jobs] == [24]
    assert "24 runs are trained together, in 1 pack of up to 24" in show(plan, forecast(plan, Store(tmp_path), 1))


def test_the_ledger_is_that_of_runs_one_by_one(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of(
        training=MATCHED,
        twins=["calibrated", "matched_confidence"],
        data={"name": "digits", "train_size": 60, "calibration_size": 20},
    )
    one_by_one, together = Store(tmp_path / "one"), Store(tmp_path / "together")
    perform_all(plan, one_by_one)
    outcomes = do(plan, together)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert {outcome.stages[0] for outcome in outcomes} == {"training"}
    assert all(outcome.missing == {} and outcome.notes == () for outcome in outcomes)
    pd.testing.assert_frame_equal(load_ledger(together.path), load_ledger(one_by_one.path), check_exact=True)
    for run_id in plan.runs:
        for name in (WEIGHTS, "weights-at-2.25.safetensors", "predictions.safetensors"):
            assert (together.run(run_id).path / name).read_bytes() == (one_by_one.run(run_id).path / name).read_bytes()
        record = together.run(run_id).read_record()
        assert record is not None
        assert record.timings["training"] > 0
    assert not any((together.path / "packs").iterdir())


class Broken(BaseException):
    """Ends a process in a test, as a signal would."""


@pytest.fixture
def broken_off(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Plan, Store, pd.DataFrame]:
    """A study that was broken off when one member of its first pack had been kept, and the ledger that it must have."""
    plan = plan_of(training={**MATCHED, "stop_at_loss": 2.2}, regimes=["sam"], grid={"seed": 4})
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    do(plan, whole)
    monkeypatch.setattr(train, "CHECKPOINT_PAUSE", 0.0)

    def one(*args: Any, **options: Any) -> Iterator[Any]:
        for number, found in enumerate(train_pack(*args, **options)):
            yield found
            if number == 0:
                raise Broken

    monkeypatch.setattr(packs, "train_pack", one)
    with pytest.raises(Broken):
        do(plan, broken)
    monkeypatch.setattr(packs, "train_pack", train_pack)
    return plan, broken, load_ledger(whole.path)


def test_a_pack_that_was_broken_off_goes_on(
    broken_off: tuple[Plan, Store, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, expected = broken_off
    (pack,) = dict.fromkeys(plan.packs.values())
    assert (store.pack(pack) / CHECKPOINT).is_file()
    kept = [run_id for run_id in plan.runs if (store.run(run_id).path / TRAINED).is_file()]
    assert len(kept) == 1
    trained = []

    def watched(found: Any, **options: Any) -> Iterator[Any]:
        trained.extend(member.name for member in found)
        yield from train_pack(found, **options)

    monkeypatch.setattr(packs, "train_pack", watched)
    outcomes = do(plan, store)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert all(outcome.notes == () for outcome in outcomes)
    assert set(trained) == plan.runs.keys() - set(kept)
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)
    assert not store.pack(pack).exists()


def test_a_checkpoint_of_no_use_is_told(broken_off: tuple[Plan, Store, pd.DataFrame]) -> None:
    plan, store, expected = broken_off
    (pack,) = dict.fromkeys(plan.packs.values())
    path = store.pack(pack) / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-8])
    outcomes = do(plan, store)
    assert {outcome.state for outcome in outcomes} == {"done"}
    (note,) = [note for outcome in outcomes for note in outcome.notes]
    assert "its pack is trained from the start" in note
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)


def test_what_a_pack_left_that_was_killed_at_its_very_end_is_removed(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, store = plan_of(regimes=["baseline"]), Store(tmp_path / "out")
    do(plan, store)
    (pack,) = dict.fromkeys(plan.packs.values())
    store.pack(pack).mkdir()
    (store.pack(pack) / CHECKPOINT).write_bytes(b"of members that have all been kept")
    outcomes = do(plan, store)
    assert [(outcome.state, outcome.stages) for outcome in outcomes] == [("done", ())] * 2
    assert not store.pack(pack).exists()


def test_weights_that_are_lost_are_made_again_to_the_bit(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "out")
    do(plan, store)
    expected = load_ledger(store.path)
    folder = store.run(next(iter(plan.runs))).path
    before = (folder / WEIGHTS).read_bytes()
    for name in (WEIGHTS, RECORD, TRAINED):
        (folder / name).unlink()
    assert {outcome.state for outcome in do(plan, store)} == {"done"}
    assert (folder / WEIGHTS).read_bytes() == before
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)


def test_a_member_that_diverges_is_told_as_alone(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of(regimes=["baseline"], grid={"seed": 2, "training.lr": [0.05, 1.0e20]})
    one_by_one, together = Store(tmp_path / "one"), Store(tmp_path / "together")
    expected = {outcome.run_id: (outcome.state, outcome.reason) for outcome in perform_all(plan, one_by_one)}
    assert {outcome.run_id: (outcome.state, outcome.reason) for outcome in do(plan, together)} == expected
    assert sorted(state for state, _ in expected.values()) == ["diverged", "diverged", "done", "done"]
    assert len(list(together.path.glob("runs/*/history.parquet"))) == 4


def test_what_breaks_a_pack_is_the_failure_of_those_that_it_breaks_alone(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_of(), Store(tmp_path / "out")

    def broken(*args: Any, **options: Any) -> Iterator[Any]:
        raise MemoryError("no room")

    monkeypatch.setattr(packs, "train_pack", broken)
    outcomes = do(plan, store)
    assert {outcome.state for outcome in outcomes} == {"done"}
    told = [note for outcome in outcomes for note in outcome.notes]
    assert len(told) == len(members(plan))
    assert all("its pack cannot be trained together (MemoryError: no room); each run is by itself" in n for n in told)


def test_a_full_disk_ends_a_pack_without_training_its_members_one_by_one(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, whole = plan_of(regimes=["sam"]), Store(tmp_path / "out"), Store(tmp_path / "whole")
    do(plan, whole)
    (pack,) = dict.fromkeys(plan.packs.values())
    fsync, alone = os.fsync, []

    def full(descriptor: int) -> None:
        if str(store.pack(pack)) in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("finds the names of files in /proc")
    monkeypatch.setattr(train, "CHECKPOINT_PAUSE", 0.0)
    monkeypatch.setattr("sharpscope.files.os.fsync", full)
    monkeypatch.setattr(train, "train", lambda *args, **options: alone.append(args))
    (outcome,) = do(plan, store)
    assert outcome.state == "failed"
    assert outcome.halt == outcome.reason
    assert outcome.reason.startswith(f"No space left on device: {store.pack(pack)}")
    assert not alone
    monkeypatch.undo()
    assert {outcome.state for outcome in do(plan, store)} == {"done"}
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(whole.path), check_exact=True)


def test_a_member_that_another_process_is_at_is_left_to_it(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "out")
    first = next(iter(plan.runs))
    with store.run(first).lease() as held:
        assert held
        outcomes = {outcome.run_id: outcome.state for outcome in do(plan, store)}
    assert outcomes.pop(first) == "busy"
    assert set(outcomes.values()) == {"done"}


def test_further_seeds_are_trained_without_the_others(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    store, whole = Store(tmp_path / "out"), Store(tmp_path / "whole")
    do(plan_of(), store)
    before = {path: path.stat().st_mtime_ns for path in store.path.glob(f"runs/*/{WEIGHTS}")}
    larger = plan_of(grid={"seed": 5})
    do(larger, store)
    do(larger, whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(whole.path), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_after_many_kills_the_ledger_is_that_of_one_go(workers: int, tmp_path: Path) -> None:
    study = tmp_path / "slower.yaml"
    (tmp_path / "eager.py").write_text("from sharpscope.study.stages import train\n\ntrain.CHECKPOINT_PAUSE = 0.0\n")
    slower = {
        "training": {"epochs": 300, "batch_size": 8, "checkpoints_at_loss": [1.0]},
        "plugins": ["eager.py"],
        "sections": [],
    }
    study.write_text(yaml.safe_dump({**TINY, **slower, "name": "slower", "grid": {"seed": 4}}))
    whole, out = tmp_path / "whole", tmp_path / "out"
    code, _, err = finish("run", study, "--out", whole, "--workers", 1)
    assert code == 0, err
    moments = [
        lambda: any(out.glob("packs/*")),
        lambda: any(out.glob(f"packs/*/{CHECKPOINT}")),
        lambda: any(out.glob(f"runs/*/{TRAINED}")),
        lambda: any(out.glob(f"runs/*/{RECORD}")),
    ]
    for moment in moments:
        process = start("run", study, "--out", out, "--workers", workers)
        while not moment() and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    code, _, err = finish("run", study, "--out", out, "--workers", workers)
    assert code == 0, err
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert not any((out / "packs").glob(f"*/{CHECKPOINT}"))
