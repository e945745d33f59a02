"""Twins that are added, broken off, or of weights that are trained anew."""

from __future__ import annotations

import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store

from .conftest import perform_all
from .twins import TWINS


def test_twins_that_are_added_later_train_nothing_and_are_those_of_a_study_with_them(plan_of, store, tmp_path):
    perform_all(plan_of(**{**TWINS, "twins": []}), store)
    before = load_ledger(store.path)
    weights = {path: path.stat().st_mtime_ns for path in store.path.rglob("*.safetensors")}
    later = perform_all(plan_of(**TWINS), store)
    assert {o.stages for o in later} == {("temperature", "predictions", "measures", "scores")}
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*.safetensors")} == weights
    at_once = Store(tmp_path / "at once")
    perform_all(plan_of(**TWINS), at_once)
    after = load_ledger(store.path)
    pd.testing.assert_frame_equal(after, load_ledger(at_once.path), check_exact=True)
    pd.testing.assert_frame_equal(after[list(before)], before, check_exact=True)
    assert [o.stages for o in perform_all(plan_of(**TWINS), store)] == [()]


@pytest.mark.parametrize("broken", ["temperature", "measures", "scores"])
def test_a_study_that_is_killed_at_a_twin_has_the_same_ledger(broken, plan_of, store, tmp_path, monkeypatch):
    plan = plan_of(**TWINS)
    perform_all(plan, store)
    expected = load_ledger(store.path)
    # As a run is left whose process was killed before it could write more: some results of its twins are not there.
    (run_id,) = plan.runs
    folder = store.run(run_id)
    record = folder.read_record()
    del record.snapshots["end~calibrated"][broken]
    folder.write_record(record)
    (outcome,) = perform_all(plan, store)
    assert "training" not in outcome.stages
    assert broken in outcome.stages
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)
    # Killed after the training alone.
    (store.run(run_id).path / "run.json").unlink()
    assert "training" not in perform_all(plan, store)[0].stages
    pd.testing.assert_frame_equal(load_ledger(store.path), expected, check_exact=True)


def test_weights_that_are_trained_anew_have_new_twins(plan_of, store):
    coarse = {**TWINS["training"], "epochs": 8}
    perform_all(plan_of(**{**TWINS, "training": coarse}), store)
    fine = {**coarse, "check_loss_every": 1}
    perform_all(plan_of(**{**TWINS, "training": fine}), store)
    ledger = load_ledger(store.path)
    again = Store(store.path.parent / "again")
    perform_all(plan_of(**{**TWINS, "training": fine}), again)
    pd.testing.assert_frame_equal(ledger, load_ledger(again.path), check_exact=True)
