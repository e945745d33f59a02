"""A training that is broken off in its middle goes on from there, to the same weights."""

from __future__ import annotations

import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store
from sharpscope.study.stages import predict
from sharpscope.study.stages import train as training

from .conftest import ALONE, perform_all

EPOCHS = 6


class Broken(BaseException):
    """Ends a process in a test, as a signal would."""


@pytest.fixture
def plan(plan_of):
    training = {"epochs": EPOCHS, "batch_size": 16, "checkpoints_at_loss": [2.25], "check_loss_every": 1}
    return plan_of(model=ALONE, training=training, regimes=["sam"], grid={"seed": [0]})


@pytest.fixture
def watched(monkeypatch):
    """Write a checkpoint after each epoch; let an epoch be the last, and tell which were trained."""
    epochs = []

    def stop_after(last, train=training.train):
        def see(epoch):
            epochs.append(epoch.epoch)
            if epoch.epoch == last:
                raise Broken

        monkeypatch.setattr(training, "train", lambda *args, **settings: train(*args, **{**settings, "on_epoch": see}))

    monkeypatch.setattr(training, "CHECKPOINT_PAUSE", 0.0)
    return stop_after, epochs


def files(store, plan):
    folder = store.run(next(iter(plan.runs))).path
    return {path.name: path.read_bytes() for path in folder.glob("weights*.safetensors")}


def test_a_training_goes_on_from_where_it_was_broken_off(plan, watched, tmp_path):
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    perform_all(plan, whole)
    assert "weights-at-2.25.safetensors" in files(whole, plan)
    stop_after, epochs = watched
    stop_after(4)
    with pytest.raises(Broken):
        perform_all(plan, broken)
    folder = broken.run(next(iter(plan.runs))).path
    assert (folder / "training.safetensors").is_file()
    stop_after(None)
    assert perform_all(plan, broken)[0].state == "done"
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert files(broken, plan) == files(whole, plan)
    assert not (folder / "training.safetensors").exists()


@pytest.mark.parametrize("damage", ["torn", "of another recipe"])
def test_a_checkpoint_of_no_use_is_told_and_the_training_begins_anew(damage, plan, watched, tmp_path):
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    perform_all(plan, whole)
    stop_after, epochs = watched
    stop_after(2)
    with pytest.raises(Broken):
        perform_all(plan, broken)
    path = broken.run(next(iter(plan.runs))).path / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-8] if damage == "torn" else path.read_bytes().replace(b"2.25", b"2.26"))
    stop_after(None)
    outcome = perform_all(plan, broken)[0]
    assert outcome.state == "done"
    assert "this run is trained from the start" in outcome.notes[0]
    assert epochs == [1, 2, 1, 2, 3, 4, 5, 6]
    assert files(broken, plan) == files(whole, plan)


def test_a_short_training_writes_no_checkpoint(plan, watched, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "CHECKPOINT_PAUSE", 60.0)
    stop_after, _ = watched
    stop_after(EPOCHS)
    store = Store(tmp_path / "out")
    with pytest.raises(Broken):
        perform_all(plan, store)
    assert not (store.run(next(iter(plan.runs))).path / "training.safetensors").exists()


@pytest.fixture
def broken_off_after_training(plan, monkeypatch, tmp_path):
    """A run whose weights are written and whose record is not, and the ledger that it must have in the end."""
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    perform_all(plan, whole)

    def breaking(*_):
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(predict, "predictions_of", breaking)
        with pytest.raises(Broken):
            perform_all(plan, broken)
    return broken, load_ledger(whole.path)


def test_a_run_that_was_broken_off_after_its_training_is_not_trained_again(plan, broken_off_after_training):
    store, expected = broken_off_after_training
    outcome = perform_all(plan, store)[0]
    assert outcome.stages == ("predictions", "measures", "by_sample", "reliability", "scores")
    assert outcome.notes == ()
    record = store.run(outcome.run_id).read_record()
    assert record.data
    assert record.at("end", "training")["weights"]["made_by"] in record.provenance
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)


@pytest.mark.parametrize("lost", [["trained.json"], ["trained.json", "history.parquet"], []])
def test_weights_count_only_as_far_as_a_record_vouches_for_them(lost, plan, broken_off_after_training):
    store, expected = broken_off_after_training
    folder = store.run(next(iter(plan.runs))).path
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-2] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    for name in lost:
        (folder / name).unlink()
    outcome = perform_all(plan, store)[0]
    assert outcome.stages[0] == "training"
    assert "weights.safetensors" in outcome.notes[0]
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)
