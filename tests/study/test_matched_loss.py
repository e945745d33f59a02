"""Sharpness at matched train loss: what is kept on the way, what is measured there, and what asking for more costs."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save
from tests.pages import page_and_tables, words

from sharpscope import measure
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.store.folder import Store
from sharpscope.study.work.outputs import CleanBatches

from .conftest import perform_all

LEVELS = [2.0, 1.0, 1e-9]
TRAINED = ("training", "predictions", "measures", "by_sample", "reliability", "scores")


@pytest.fixture
def plan_at(plan_of):
    def plan(*levels, training=None, **changes):
        training = training or {"epochs": 12, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": list(levels)}
        return plan_of(training=training, **changes)

    return plan


def trained(path, hidden=8):
    """The data of the tiny study, and its model with the weights in a file."""
    data = DATASETS["digits"](DataSource(), train_size=60)
    model = build("mlp", data.input_shape, 10, Stream("other"), hidden=[hidden])
    model.load_state_dict(load_file(path))
    return data, model


def test_weights_are_kept_and_measured_where_the_loss_is_first_reached(plan_at, store):
    plan = plan_at(*LEVELS)
    assert {o.stages for o in perform_all(plan, store)} == {TRAINED}
    ledger = load_ledger(store.path)
    for index, run_id in enumerate(plan.runs):
        folder = store.run(run_id)
        record = folder.read_record()
        kept = sorted(p.name for p in folder.path.glob("weights-at-*"))
        assert kept == ["weights-at-1.safetensors", "weights-at-2.safetensors"]
        at = {level: record.at(f"loss-{level}", "training")["weights"] for level in ("2", "1", "1e-09")}
        assert at["1"]["epoch"] > at["2"]["epoch"]
        assert at["1e-09"]["epoch"] is None
        row = ledger.iloc[index]
        for level in ("2", "1"):
            assert row[f"train_loss@{level}"] == pytest.approx(at[level]["loss"], rel=1e-6)
            assert row[f"train_loss@{level}"] <= float(level)
            gap = row[f"train_accuracy@{level}"] - row[f"test_accuracy@{level}"]
            assert row[f"generalization_gap@{level}"] == gap
        data, model = trained(folder.path / "weights-at-1.safetensors")
        for key, estimate in measure(model, CleanBatches(data), ["relative_flatness", "gradient_norm"]).items():
            assert row[f"{key}@1"] == estimate.value
            assert row[f"{key}@1_stderr"] == estimate.stderr
            assert np.isnan(row[f"{key}@1e-09"])
    wanted = ["train_loss", "test_loss", "train_accuracy", "test_accuracy", "generalization_gap", "relative_flatness"]
    first = ledger.columns.get_loc("train_loss@2")
    assert list(ledger.columns[first : first + 8]) == [
        *(f"{key}@2" for key in wanted),
        *("relative_flatness@2_stderr", "relative_flatness@2_converged"),
    ]


def test_levels_are_no_part_of_a_runs_identity(plan_at):
    assert list(plan_at(1.0).runs) == list(plan_at().runs)


def test_a_level_asked_for_later_is_kept_by_training_again_to_the_same_weights(plan_at, store, tmp_path):
    perform_all(plan_at(2.0), store)
    run_id = next(iter(plan_at().runs))
    before = store.run(run_id).read_record()
    assert {o.stages for o in perform_all(plan_at(2.0, 1.0), store)} == {("training", "predictions", "measures")}
    after = store.run(run_id).read_record()
    assert after.files["weights.safetensors"] == before.files["weights.safetensors"]
    for snapshot in ("end", "loss-2"):
        assert after.at(snapshot, "measures") == before.at(snapshot, "measures")
    at_once = Store(tmp_path / "at once")
    perform_all(plan_at(2.0, 1.0), at_once)
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(at_once.path), check_exact=True)
    # Fewer levels need nothing, and a measure added to them trains nothing.
    assert {o.stages for o in perform_all(plan_at(1.0), store)} == {()}
    more = perform_all(plan_at(1.0, measures=["margin", "gradient_norm", "distance_from_init"]), store)
    assert {o.stages for o in more} == {("measures",)}
    assert load_ledger(store.path)["distance_from_init@1"].notna().all()


def test_training_again_that_ends_elsewhere_makes_all_of_the_run_anew(plan_at, store):
    perform_all(plan_at(regimes=["baseline"]), store)
    folder = store.run(next(iter(plan_at().runs)))
    record = folder.read_record()
    moved = {name: tensor + 1 for name, tensor in load_file(folder.path / "weights.safetensors").items()}
    record.files["weights.safetensors"] = folder.write("weights.safetensors", save(moved))
    folder.write_record(record)
    first, second = perform_all(plan_at(1.0, regimes=["baseline"]), store)
    assert first.stages == TRAINED
    assert "ended in other weights than before; all of it is made again" in first.notes[0]
    assert second.stages == ("training", "predictions", "measures")
    assert not second.notes


@pytest.mark.parametrize("level", [1.0, 2.0])
def test_torn_weights_at_a_level_are_noticed(level, plan_at, store):
    perform_all(plan_at(2.0, 1.0), store)
    before = load_ledger(store.path)
    path = store.run(next(iter(plan_at().runs))).path / f"weights-at-{level:g}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert "is damaged" in perform_all(plan_at(2.0, 1.0), store)[0].notes[0]
    assert path.read_bytes() == whole
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)
    path.write_bytes(whole[:-40])
    # Nobody asks for this level now: what is torn of it is dropped.
    others = [one for one in (2.0, 1.0) if one != level]
    perform_all(plan_at(*others), store)
    assert not path.exists()
    assert perform_all(plan_at(*others), store)[0].stages == ()


def test_a_report_has_a_group_for_each_level_that_was_reached(plan_at, store):
    perform_all(plan_at(*LEVELS, primary=["relative_flatness@1"]), store)
    results = load_results(store.path)
    assert results.primary == ["relative_flatness@1"]
    assert results.quantities["relative_flatness@1"].label == "Relative flatness at train loss 1"
    assert results.quantities["relative_flatness@1"].short_label == "Relative flatness"
    assert "one vector added to all rows of the head" in results.quantities["relative_flatness@1"].unchanged_by
    assert results.quantities["train_loss@1"].orientation == 0
    assert results.keys == []
    page, tables = page_and_tables(results)
    page = words(page)
    assert page.count("<span>At matched train loss 1</span>") == 1
    assert "an epoch can jump far below it" in page
    assert "At matched train loss 1e-09" not in page
    table = pd.read_csv(io.BytesIO(tables["correlations.csv"]))
    pairs = set(map(tuple, table[["measure", "quantity"]].to_numpy()))
    assert ("relative_flatness@1", "test_accuracy@1") in pairs
    assert ("relative_flatness@1", "test_accuracy") in pairs
    assert ("relative_flatness", "test_accuracy@1") not in pairs
    assert ("relative_flatness@1", "test_accuracy@2") not in pairs


def test_a_key_that_is_the_column_of_a_level_is_refused(plan_at):
    with pytest.raises(SpecError, match="'margin@1' is a column of the measure"):
        plan_at(1.0, measures={"margin": {}, "margin@1": {"measure": "margin"}})


@pytest.mark.parametrize("per_seed", [False, True])
def test_the_training_split_has_the_labels_trained_on(plan_at, store, per_seed):
    noise = {"label_noise": {"probability": 1.0, "per_seed": per_seed}}
    plan = plan_at(regimes=["baseline", noise], model={"name": "mlp", "hidden": [64]})
    perform_all(plan, store)
    clean, noisy = (store.run(run_id) for run_id in list(plan.runs)[:2])
    of_clean, of_noisy = (folder.read_predictions(folder.read_record()) for folder in (clean, noisy))
    assert (of_clean.train.targets != of_noisy.train.targets).mean() > 0.5
    assert (of_clean.test.targets == of_noisy.test.targets).all()
    ledger = load_ledger(store.path)
    assert ledger["train_accuracy"].iloc[1] == of_noisy.train.correct.mean()
    data, model = trained(noisy.path / "weights.safetensors", hidden=64)
    assert torch.equal(torch.from_numpy(of_clean.train.targets), data.train_targets)
    batch = (data.normalize(data.train_inputs), torch.from_numpy(of_noisy.train.targets))
    expected = measure(model, [batch], ["gradient_norm"])["gradient_norm"].value
    assert ledger["gradient_norm"].iloc[1] == pytest.approx(expected)
    others = store.run(list(plan.runs)[3])
    targets = others.read_predictions(others.read_record()).train.targets
    assert (targets == of_noisy.train.targets).all() != per_seed


def test_a_level_matched_more_closely_later_is_looked_for_again(plan_at, store, tmp_path):
    coarse = {"epochs": 12, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [2.0, 1.0]}
    fine = {**coarse, "check_loss_every": 1}
    perform_all(plan_at(training=coarse), store)
    before = load_ledger(store.path)
    assert {o.stages for o in perform_all(plan_at(training=fine), store)} == {("training", "predictions", "measures")}
    after = load_ledger(store.path)
    assert (after["run_id"] == before["run_id"]).all()
    assert (after["step@1"] < before["step@1"]).any()
    assert (after["step@1"] <= before["step@1"]).all()
    assert after["train_loss@1"].le(1.0).all()
    assert set(before["step@1"] % 4) == {0}
    record = store.run(after["run_id"].iloc[0]).read_record()
    assert after["step@2"].iloc[0] == record.at("loss-2", "training")["weights"]["step"]
    at_once = Store(tmp_path / "at once")
    perform_all(plan_at(training=fine), at_once)
    pd.testing.assert_frame_equal(load_ledger(at_once.path), after, check_exact=True)
    page, tables = page_and_tables(load_results(store.path))
    assert "came down to that loss from one step to the next" in page
    told = pd.read_csv(io.BytesIO(tables["matched_loss.csv"])).query("matched_loss == 1")
    assert told["loss_least"].min() == after["train_loss@1"].min()
    assert told["loss_greatest"].max() == after["train_loss@1"].max()
    assert set(told["reached"]) == {2}


def test_levels_are_matched_alike_in_all_runs(plan_at):
    training = {"stop_at_loss": 0.5, "checkpoints_at_loss": [1.0]}
    with pytest.raises(SpecError, match="give check_loss_every one value, not null, 5"):
        plan_at(training=training, grid={"seed": [0], "training.check_loss_every": [None, 5]})
