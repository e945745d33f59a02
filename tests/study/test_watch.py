"""Measures along the training of every run, and what asking for them later costs."""

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from sharpscope import measure
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import steps_within
from sharpscope.study.run.forecast import forecast
from sharpscope.study.work.outputs import CleanBatches

from .conftest import perform_all

WATCH = {"steps": [0, 1, 4, 100], "measures": {"gradient_norm": None, "raw": {"measure": "relative_flatness"}}}


def trajectory(store, run_id):
    return pd.read_parquet(store.run(run_id).path / "trajectory.parquet")


def test_a_row_for_each_watched_step_has_what_measuring_the_weights_of_then_finds(plan_of, store):
    plan = plan_of(watch=WATCH)
    perform_all(plan, store)
    ledger = load_ledger(store.path).set_index("run_id")
    data = DATASETS["digits"](DataSource(), train_size=60)
    for run_id in plan.runs:
        table = trajectory(store, run_id)
        # Two epochs of two steps: step 100 is never made.
        assert table["step"].tolist() == [0, 1, 4]
        last, row = table.iloc[-1], ledger.loc[run_id]
        assert last["gradient_norm"] == row["gradient_norm"]
        assert last["raw"] == row["relative_flatness"]
        assert last["train_loss"] == row["train_loss"]
        assert last["test_accuracy"] == row["test_accuracy"]
        weights = load_file(store.run(run_id).path / "watched.safetensors")
        model = build("mlp", data.input_shape, 10, Stream("other"), hidden=[8])
        model.load_state_dict({name[2:]: tensor for name, tensor in weights.items() if name.startswith("1/")})
        found = measure(model, CleanBatches(data), ["gradient_norm"])["gradient_norm"]
        assert table["gradient_norm"][1] == found.value
        assert table["gradient_norm_stderr"][1] == 0


def test_watching_is_no_part_of_a_runs_identity(plan_of):
    assert list(plan_of(watch=WATCH).runs) == list(plan_of().runs)


def test_a_watch_asked_for_later_trains_again_and_keeps_all_that_was_found(plan_of, store):
    perform_all(plan_of(), store)
    before = {run.run_id: run.read_record().at("end", "measures") for run in map(store.run, plan_of().runs)}
    again = perform_all(plan_of(watch=WATCH), store)
    assert {outcome.stages for outcome in again} == {("training", "trajectory")}
    assert {r: store.run(r).read_record().at("end", "measures") for r in before} == before
    assert perform_all(plan_of(watch=WATCH), store)[0].stages == ()


def test_another_measure_is_taken_of_the_stored_weights(plan_of, store):
    perform_all(plan_of(watch=WATCH), store)
    more = {**WATCH, "measures": ["gradient_norm", "parameter_norm"]}
    assert {outcome.stages for outcome in perform_all(plan_of(watch=more), store)} == {("trajectory",)}
    run_id = next(iter(plan_of().runs))
    assert "parameter_norm" in trajectory(store, run_id)
    (store.run(run_id).path / "trajectory.parquet").write_bytes(b"torn")
    arrays, unread = load_results(store.path).arrays("trajectory")
    assert set(arrays) == set(plan_of().runs) - {run_id}
    assert "trajectory.parquet" in unread[run_id]


def test_weights_that_were_deleted_are_trained_again_when_they_are_asked_for(plan_of, store):
    perform_all(plan_of(watch=WATCH), store)
    run_id = next(iter(plan_of().runs))
    before = trajectory(store, run_id)
    (store.run(run_id).path / "watched.safetensors").unlink()
    assert perform_all(plan_of(watch=WATCH), store)[0].stages == ()
    more = {**WATCH, "measures": {**WATCH["measures"], "parameter_norm": None}}
    assert perform_all(plan_of(watch=more), store)[0].stages == ("training", "trajectory")
    after = trajectory(store, run_id)
    pd.testing.assert_frame_equal(after[before.columns], before)


def test_a_report_reads_it_from_the_store(plan_of, store):
    plan = plan_of(watch={"every": 3, "measures": ["gradient_norm"]})
    perform_all(plan, store)
    results = load_results(store.path)
    arrays, unread = results.arrays("trajectory")
    assert not unread
    run_id = next(iter(plan.runs))
    np.testing.assert_array_equal(arrays[run_id]["step"], [0, 3])
    np.testing.assert_array_equal(arrays[run_id]["gradient_norm"], trajectory(store, run_id)["gradient_norm"])
    assert [fact["name"] for fact in store.read_catalog()["watched"]] == ["gradient_norm"]


def test_steps_are_multiples_or_those_of_the_list_within_the_training():
    assert steps_within({"every": 5}, 10) == [0, 5, 10]
    assert steps_within({"steps": [0, 1, 10, 100]}, 10) == [0, 1, 10]


def test_the_plan_reckons_with_the_weights_that_are_kept(plan_of, store):
    watched, plain = (forecast(plan_of(watch=watch), store, 1) for watch in (WATCH, None))
    size = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    assert watched.disk["weights along the training"] >= 4 * 3 * size
    assert "weights along the training" not in plain.disk


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        ({"measures": ["gradient_norm"]}, "watch has either 'every', a number of steps, or 'steps', a list of them"),
        ({"every": 5, "steps": [1], "measures": ["gradient_norm"]}, "watch has either 'every'"),
        ({"steps": [0, 10, 1], "measures": ["gradient_norm"]}, "watch.steps rise from one to the next"),
        ({"every": 5}, "the key 'watch.measures' is missing"),
        ({"every": 5, "measures": ["gradient_nrm"]}, "unknown measure 'gradient_nrm'; did you mean 'gradient_norm'"),
        ({"every": 5, "measures": ["boundary_length"]}, "has no 'boundary_length': boundary_length needs samples of"),
        ({"evry": 5, "measures": ["gradient_norm"]}, "unknown key 'evry' in watch; did you mean 'every'"),
    ],
)
def test_what_cannot_be_watched_is_refused(plan_of, watch, message):
    with pytest.raises(SpecError, match=message):
        plan_of(watch=watch)
