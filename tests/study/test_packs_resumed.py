"""Packs that go on after they were broken off: nothing that was trained is trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store
from sharpscope.store.run_folder import CHECKPOINT
from sharpscope.study.planning.plan import Plan
from sharpscope.study.stages import train
from sharpscope.training.checkpoint import Checkpoint
from sharpscope.training.packs import loop

from .test_packs import Broken, do

EPOCHS = {"epochs": 6, "batch_size": 16}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many networks each epoch of a pack had."""
    found: list[int] = []
    epoch = loop._Pack.epoch

    def watched(self: Any) -> Any:
        found.append(len(self.alive))
        return epoch(self)

    monkeypatch.setattr(loop._Pack, "epoch", watched)
    return found


def break_off(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Do a plan until a checkpoint was written so many times."""
    write, written = Checkpoint.write, []

    def broken(self: Checkpoint) -> None:
        write(self)
        written.append(self)
        if len(written) == after:
            raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(train, "CHECKPOINT_PAUSE", 0.0)
        patch.setattr(Checkpoint, "write", broken)
        with pytest.raises(Broken):
            do(plan, store)


def check_whole(plan: Plan, store: Store, whole: Path) -> None:
    """See that a study has what one has that was done in one go, and no pack is left."""
    do(plan, Store(whole))
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(whole), check_exact=True)
    assert not any((store.path / "packs").iterdir())


def test_members_that_diverged_leave_the_checkpoint_to_the_others(
    plan_of: Callable[..., Plan], tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(regimes=["baseline"], training=EPOCHS, grid={"seed": 2, "training.lr": [0.05, 1.0e20]})
    store = Store(tmp_path / "out")
    break_off(plan, store, monkeypatch, after=4)
    before = len(counted)
    outcomes = do(plan, store)
    assert counted[before:] == [2, 2], "the epochs that are left, of those that did not diverge"
    assert sorted(outcome.state for outcome in outcomes) == ["diverged", "diverged", "done", "done"]
    assert all(outcome.notes == () for outcome in outcomes)
    check_whole(plan, store, tmp_path / "whole")


def test_a_study_that_was_given_more_seeds_goes_on_with_those_that_it_had(
    plan_of: Callable[..., Plan], tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "out")
    break_off(plan_of(regimes=["sam"], training=EPOCHS, grid={"seed": 3}), store, monkeypatch, after=4)
    (left,) = store.path.glob(f"packs/*/{CHECKPOINT}")
    larger = plan_of(regimes=["sam"], training=EPOCHS, grid={"seed": 5})
    assert store.pack(next(iter(larger.packs.values()))) != left.parent
    before = len(counted)
    assert {outcome.state for outcome in do(larger, store)} == {"done"}
    assert counted[before:] == [3] * 2 + [2] * 6
    check_whole(larger, store, tmp_path / "whole")


def test_a_pack_that_lost_a_member_goes_on_with_the_others(
    plan_of: Callable[..., Plan], tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_of(regimes=["sam"], training=EPOCHS, grid={"seed": 3}), Store(tmp_path / "out")
    first = next(iter(plan.runs))
    with store.run(first).lease():
        break_off(plan, store, monkeypatch, after=4)
    before = len(counted)
    assert {outcome.state for outcome in do(plan, store)} == {"done"}
    assert counted[before:] == [2] * 2 + [1] * 6
    check_whole(plan, store, tmp_path / "whole")


def test_a_run_that_cannot_be_looked_at_costs_no_other(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, store = plan_of(regimes=["sam"], grid={"seed": 3}), Store(tmp_path / "out")
    first = next(iter(plan.runs))
    folder = store.run(first).path
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    outcomes = {outcome.run_id: outcome for outcome in do(plan, store)}
    assert outcomes.pop(first).state == "failed"
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
