from __future__ import annotations

import dataclasses
import errno
import functools
import json

import numpy as np
import pandas as pd
import pytest

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.findings import find
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.cli import run_command
from sharpscope.data import DATASETS
from sharpscope.errors import DataError
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.store.status import Status
from sharpscope.study.execution import execute
from sharpscope.study.run.engine import assignment_of, run_study
from sharpscope.study.stages import predict, train
from sharpscope.study.work import work
from sharpscope.study.work.data_cache import DataCache

from .conftest import ALONE, perform_all


def test_a_study_ends_in_a_ledger(plan_of, store):
    plan = plan_of(scores=["accuracy", "ece", "generalization_gap", "prediction_disagreement"])
    outcomes = perform_all(plan, store)
    assert {o.state for o in outcomes} == {"done"}
    assert outcomes[0].stages == ("training", "predictions", "measures", "by_sample", "reliability", "scores")
    assert update_pairs(store).notes == []
    ledger = load_ledger(store.path)
    assert list(ledger["run_id"]) == list(plan.runs)
    assert list(ledger.columns) == [
        *("run_id", "state", "regime", "seed", "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
        *("relative_flatness", "relative_flatness_stderr", "relative_flatness_converged"),
        *("gradient_norm", "gradient_norm_stderr", "gradient_norm_converged"),
        *("accuracy", "ece", "generalization_gap", "prediction_disagreement"),
    ]
    assert not ledger.isna().any().any()
    pd.testing.assert_series_equal(
        ledger["generalization_gap"], ledger["train_accuracy"] - ledger["test_accuracy"], check_names=False
    )
    # Two seeds: the pair's value stands in both rows, and the pairs hold it once for each regime.
    first, second = (Store(store.path).run(r) for r in list(plan.runs)[::2])
    a, b = (f.read_predictions(f.read_record()).test.predicted for f in (first, second))
    assert ledger["prediction_disagreement"].iloc[0] == ledger["prediction_disagreement"].iloc[2] == (a != b).mean()
    results = load_results(store.path)
    assert results.pairs[["regime", "seed_a", "seed_b"]].values.tolist() == [["baseline", 0, 1], ["sam", 0, 1]]
    assert len(results.reliability) == 4 * 15
    assert results.reliability["count"].sum() == 4 * 797
    assert "accuracy" not in results.quantities
    assert results.quantities["relative_flatness"].symbol


def test_regimes_of_a_seed_share_their_initialization(plan_of, store):
    plan = plan_of()
    perform_all(plan, store)
    inits = {run.seed: set() for run in plan.runs.values()}
    for run_id, run in plan.runs.items():
        inits[run.seed].add(store.run(run_id).read_record().init)
    assert all(len(names) == 1 for names in inits.values())
    assert len(list((store.path / "inits").iterdir())) == 2


def test_a_finished_run_is_left_alone(plan_of, store):
    plan = plan_of()
    perform_all(plan, store)
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*.safetensors")}
    assert [o.stages for o in perform_all(plan, store)] == [()] * 4
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*.safetensors")} == before


def test_what_is_added_later_is_computed_without_training_and_equals_what_is_computed_at_once(plan_of, store, tmp_path):
    perform_all(plan_of(), store)
    more = {
        "measures": ["gradient_norm", "relative_flatness", "sam_sharpness", "distance_from_init"],
        "scores": ["ece", "nll", "corruption_accuracy", "prediction_disagreement"],
        "regimes": ["sam"],
    }
    later = perform_all(plan_of(**more), store)
    assert {o.stages for o in later} == {
        ("predictions", "measures", "by_condition", "by_sample", "reliability", "scores")
    }
    at_once = Store(tmp_path / "at_once")
    perform_all(plan_of(**more), at_once)
    for place in (store, at_once):
        update_pairs(place)
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(at_once.path), check_exact=True)


def test_a_score_added_later_reads_the_predictions_alone(plan_of, store):
    perform_all(plan_of(scores=["ece"]), store)
    assert {o.stages for o in perform_all(plan_of(scores=["ece", "brier"]), store)} == {("by_sample", "scores")}


def test_other_options_recompute_that_estimate_alone(plan_of, store):
    perform_all(plan_of(), store)
    before = store.run(next(iter(plan_of().runs))).read_record()
    changed = plan_of(measures={"relative_flatness": {"normalize": False}, "gradient_norm": {}})
    assert {o.stages for o in perform_all(changed, store)} == {("measures",)}
    after = store.run(before.run_id).read_record()
    before, after = (record.at("end", "measures") for record in (before, after))
    assert after["relative_flatness"]["value"] != before["relative_flatness"]["value"]
    assert after["gradient_norm"] == before["gradient_norm"]


def test_the_ledger_shows_no_value_of_another_definition(plan_of, store):
    perform_all(plan_of(), store)
    changed = plan_of(scores={"ece": {"bins": 5}, "nll": {}})
    store.write_catalog(changed.catalog)
    ledger = load_ledger(store.path)
    assert ledger["ece"].isna().all()
    assert ledger["relative_flatness"].notna().all()


@pytest.mark.parametrize(
    ("name", "redone"),
    [
        ("run.json", ("predictions", "measures", "by_sample", "reliability", "scores")),
        ("weights.safetensors", ("training", "predictions", "measures", "by_sample", "reliability", "scores")),
        ("predictions.safetensors", ("predictions", "by_sample", "reliability", "scores")),
    ],
)
def test_a_torn_file_is_noticed_and_made_again(name, redone, plan_of, store):
    plan = plan_of()
    perform_all(plan, store)
    before = load_ledger(store.path)
    run_id = next(iter(plan.runs))
    path = store.run(run_id).path / name
    path.write_bytes(path.read_bytes()[:-40])
    outcome = perform_all(plan, store)[0]
    assert outcome.state == "done"
    assert f"{name} is damaged" in outcome.notes[0]
    # Weights that are torn but not asked for are made again too: a finished run has whole files.
    assert outcome.stages == redone
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


@pytest.mark.parametrize(("lr", "reason"), [(1e20, "at epoch"), (1e9, "the trained model's outputs are NaN or inf")])
def test_divergence_is_a_result_with_a_reason(lr, reason, plan_of, store):
    plan = plan_of(regimes=["baseline"], training={"lr": lr, "epochs": 3})
    outcomes = perform_all(plan, store)
    assert {o.state for o in outcomes} == {"diverged"}
    assert reason in outcomes[0].reason
    assert [o.stages for o in perform_all(plan, store)] == [()] * 2
    results = load_results(store.path)
    assert results.ledger["relative_flatness"].isna().all()
    assert set(results.failures["state"]) == {"diverged"}


@pytest.mark.parametrize("lr", [1e20, 1e9])
@pytest.mark.parametrize("name", ["history.parquet", "trained.json", "init"])
def test_a_run_that_diverged_is_no_other_after_damage(name, lr, plan_of, store):
    plan = plan_of(regimes=["baseline"], training={"lr": lr, "epochs": 3}, grid={"seed": 1})
    (before,) = perform_all(plan, store)
    folder = store.run(before.run_id)
    path = next(store.path.glob("inits/*")) if name == "init" else folder.path / name
    path.write_bytes(b"not what it was")
    (after,) = perform_all(plan, store)
    assert (after.state, after.reason) == ("diverged", before.reason)
    assert perform_all(plan, store)[0].stages == ()
    assert Status.of(store).sound


def test_a_failure_is_recorded_and_the_others_go_on(plan_of, store, monkeypatch):
    plan = plan_of()
    victim = list(plan.runs)[1]
    original = predict.predictions_of

    def broken(*arguments):
        if (store.run(victim).path / "weights.safetensors").exists() and not (
            store.run(victim).path / "run.json"
        ).exists():
            raise RuntimeError("two\nlines")
        return original(*arguments)

    monkeypatch.setattr(predict, "predictions_of", broken)
    assert [o.state for o in perform_all(plan, store)] == ["done", "failed", "done", "done"]
    monkeypatch.undo()
    record = store.run(victim).read_record()
    assert record.reason == "RuntimeError: two lines"
    assert "RuntimeError: two" in (store.run(victim).path / "traceback.txt").read_text()
    assert np.isnan(load_ledger(store.path)["gradient_norm"].iloc[1])
    # What failed is tried again, from where it stood.
    assert perform_all(plan, store)[1].stages == ("predictions", "measures", "by_sample", "reliability", "scores")


def test_an_interruption_passes(plan_of, store, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform_all(plan_of(model=ALONE), store)


def test_a_full_disk_fails_the_run_and_tears_nothing(plan_of, store, monkeypatch):
    plan = plan_of()
    perform_all(plan_of(regimes=["baseline"]), store)
    store.write_catalog(plan.catalog)
    before = load_ledger(store.path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sharpscope.files.os.fsync", full)
    cache = DataCache(plan.data_dir)
    outcomes = [execute(run_id, assignment_of(plan, store), cache) for run_id in plan.runs]
    assert [o.state for o in outcomes] == ["done", "failed", "done", "failed"]
    assert outcomes[1].halt == outcomes[1].reason
    assert outcomes[1].reason.startswith(f"No space left on device: {store.path}")
    assert not list(store.path.rglob("*.tmp"))
    monkeypatch.undo()
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)
    assert {o.state for o in perform_all(plan, store)} == {"done"}


def test_run_json_says_what_it_was(plan_of, store):
    plan = plan_of(grid={"seed": 1, "training.lr": [0.01, 0.1]})
    perform_all(plan, store)
    content = json.loads((store.run(list(plan.runs)[-1]).path / "run.json").read_text())
    assert content["coordinates"] == {"regime": "sam", "seed": 0, "training.lr": 0.1}
    assert content["spec"]["training"]["lr"] == 0.1
    assert content["snapshots"]["end"]["measures"]["gradient_norm"]["converged"] is True
    (facts,) = content["provenance"].values()
    assert facts["versions"]["torch"]
    assert list(load_ledger(store.path)["training.lr"]) == [0.01, 0.01, 0.1, 0.1]


def test_a_value_that_did_not_converge_is_marked_in_the_ledger_and_told(plan_of, tmp_path):
    plan = plan_of(measures={"hessian_top_eigenvalue": {"budget": 1}, "gradient_norm": {}}, grid={"seed": 1})
    store = Store(tmp_path / "out")
    perform_all(plan, store)
    ledger = load_ledger(store.path)
    assert (~ledger["hessian_top_eigenvalue_converged"]).all()
    assert ledger["gradient_norm_converged"].all()
    results = load_results(store.path)
    found = find(results, contrasts_table(results), correlations_table(results))
    n = len(ledger)
    assert found.unconverged.startswith(f"{n} of {n} values of Hessian top eigenvalue did not reach their precision")


def test_provenance_of_each_stage_stays(plan_of, store, monkeypatch):
    perform_all(plan_of(), store)
    monkeypatch.setattr(work, "provenance", lambda device: {"versions": {"torch": "later"}})
    perform_all(plan_of(scores=["ece", "brier"], measures=["relative_flatness", "margin"]), store)
    record = store.run(next(iter(plan_of().runs))).read_record()
    entries = {key: e["made_by"] for found in record.snapshots["end"].values() for key, e in found.items()}
    later = {name for name, maker in entries.items() if record.provenance[maker]["versions"]["torch"] == "later"}
    assert later == {"brier", "margin"}
    assert load_results(store.path).provenance["torch"].endswith(", later")


def test_predictions_that_hold_more_than_is_wanted_are_kept(plan_of, store):
    images = {"scores": ["ece", "corruption_accuracy"], "regimes": ["baseline"]}
    perform_all(plan_of(**images), store)
    before = load_ledger(store.path)
    for path in store.path.rglob("weights.safetensors"):
        path.unlink()
    assert {o.stages for o in perform_all(plan_of(**{**images, "scores": ["ece"]}), store)} == {()}
    assert {o.stages for o in perform_all(plan_of(**{**images, "scores": ["ece", "nll"]}), store)} == {("scores",)}
    assert {o.stages for o in perform_all(plan_of(**images), store)} == {()}
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


def test_a_dataset_that_has_changed_is_refused_in_one_sentence(plan_of, store, monkeypatch):
    perform_all(plan_of(grid={"seed": 1}), store)
    original = DATASETS["digits"].function

    @functools.wraps(original)
    def changed(source, **options):
        dataset = original(source, **options)
        return dataclasses.replace(dataset, train_inputs=dataset.train_inputs.flip(0))

    monkeypatch.setitem(DATASETS._entries, "digits", dataclasses.replace(DATASETS["digits"], function=changed))
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"dataset 'digits' has changed .* or run the study with another --out"):
        run_study(plan_of(), store, None)
    assert {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()} == before
    # A machine that reads other data than those that were planned with.
    plan = plan_of(grid={"seed": [5]})
    assignment = dataclasses.replace(assignment_of(plan, store), data=dict.fromkeys(plan.runs, "0"))
    outcome = execute(next(iter(plan.runs)), assignment, DataCache(None))
    assert outcome.state == "failed"
    assert "has changed" in outcome.reason


def test_a_twin_is_told_once(plan_of, store):
    plan = plan_of(
        scores={"nll": {}, "accuracy": {}, "ece": {"bins": 4}}, primary=["nll", "accuracy"], grid={"seed": 1}
    )
    perform_all(plan, store)
    results = load_results(store.path)
    assert {"nll", "accuracy"}.isdisjoint(results.quantities)
    assert results.primary == ["test_loss", "test_accuracy"]
    pd.testing.assert_series_equal(results.ledger["nll"], results.ledger["test_loss"], check_names=False)


def test_the_first_primary_family_is_kept(here, study_file, store):
    small = {"grid": {"seed": 1}, "regimes": ["baseline"], "sections": []}
    command = ["run", str(study_file(**small)), "--out", str(store.path), "--executor", "here"]
    assert run_command(command) == 0
    first = load_results(store.path)
    assert first.default_primary
    assert not first.primary_changed
    study_file(**small, primary=["test_accuracy"])
    assert run_command(command) == 0
    second = load_results(store.path)
    assert not second.default_primary
    assert second.primary_changed
    assert second.first_primary == first.study["primary"]
