"""Twins of models: the same predictions with another confidence, and measures of the model with its head divided."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from sharpscope import measure
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import MODELS, build
from sharpscope.safety import SCORES, Split, splits
from sharpscope.safety.temperature import Fit, divided, entropy, fitted, readings
from sharpscope.seeding import Stream
from sharpscope.store.folder import Store
from sharpscope.store.record import Record
from sharpscope.store.status import Status
from sharpscope.study.execution import execute
from sharpscope.study.run.engine import assignment_of, run_study
from sharpscope.study.stages import temperature as stage
from sharpscope.study.work import work
from sharpscope.study.work.data_cache import DataCache
from sharpscope.study.work.stage import in_order
from sharpscope.study.work.timing import Timing

from .conftest import Heard, finish, in_this_process, perform_all, start

MEASURES = ["relative_flatness", "fisher_rao_norm", "fisher_rao_norm_analytic", "gradient_norm", "margin"]
SCORED = ["ece", "nll", "aurc", "accuracy", "brier", "prediction_disagreement", "generalization_gap"]
TWINS = {
    "twins": ["calibrated"],
    "training": {"epochs": 6, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [2.0]},
    "measures": MEASURES,
    "scores": SCORED,
    "regimes": ["baseline"],
    "grid": {"seed": 1},
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


@pytest.fixture(scope="module")
def data():
    return DATASETS["digits"](DataSource(), train_size=60)


def model_at(folder, snapshot, data):
    """The stored model in double precision."""
    name = "weights.safetensors" if snapshot == "end" else "weights-at-2.safetensors"
    model = build("mlp", data.input_shape, 10, Stream("any"), **MODELS["mlp"].complete({"hidden": [8]}))
    model.load_state_dict(load_file(folder.path / name))
    return model.eval().double()


def test_a_twin_is_the_model_with_its_head_divided(plan_of, store, data):
    plan = plan_of(**TWINS)
    (outcome,) = perform_all(plan, store)
    assert outcome.state == "done"
    assert not outcome.missing
    folder, row = store.run(outcome.run_id), load_ledger(store.path).iloc[0]
    batch = (data.normalize(data.train_inputs).double(), data.train_targets)
    for snapshot, at in (("end", ""), ("loss-2", "@2")):
        model = model_at(folder, snapshot, data)
        inputs, targets = data.calibration
        logits = model(data.normalize(inputs).double()).detach().numpy()
        fit = fitted(Split(logits, targets.numpy()))
        assert row[f"temperature{at}~calibrated"] == pytest.approx(fit.temperature, rel=1e-4)
        assert row[f"temperature{at}~calibrated_converged"]
        last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
        with torch.no_grad():
            last.weight /= row[f"temperature{at}~calibrated"]
            last.bias /= row[f"temperature{at}~calibrated"]
        expected = measure(model, [batch], MEASURES)
        for name in MEASURES:
            assert row[f"{name}{at}~calibrated"] == pytest.approx(expected[name].value, rel=1e-4)
            assert row[f"{name}{at}~calibrated"] != pytest.approx(row[f"{name}{at}"], rel=1e-3)
        loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
        assert row[f"train_loss{at}~calibrated"] == pytest.approx(loss.item(), rel=1e-5)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        assert row[f"gradient_norm{at}~calibrated"] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_its_scores_are_those_of_the_same_predictions(plan_of, store, data):
    perform_all(plan_of(**TWINS), store)
    row = load_ledger(store.path).iloc[0]
    folder = store.run(row["run_id"])
    record = folder.read_record()
    predictions = folder.read_predictions(record)
    (twin,) = readings(predictions, Fit(row["temperature~calibrated"], converged=True))
    assert (twin.test.predicted == predictions.test.predicted).all()
    assert (twin.train.predicted == predictions.train.predicted).all()
    for name in ("ece", "nll", "aurc", "brier"):
        assert row[f"{name}~calibrated"] == SCORES[name](twin)
    assert row["test_loss~calibrated"] == twin.test.cross_entropy
    assert row["test_loss~calibrated"] < row["test_loss"]
    # What no temperature changes is told once, and there are no scores at a level.
    twins = [name for name in row.index if name.endswith("~calibrated")]
    assert not [name for name in twins if "accuracy" in name or "gap" in name or "disagree" in name]
    assert "ece@2~calibrated" not in twins
    assert sorted(p.name for p in folder.path.glob("*.safetensors") if not p.name.startswith("by_sample")) == [
        *("predictions.safetensors", "weights-at-2.safetensors", "weights.safetensors")
    ]


UNDER = ["corruption_ece", "corruption_nll", "corruption_accuracy", "ood_auroc"]


def test_under_corruption_its_temperature_is_that_of_clean_data(plan_of, store, monkeypatch):
    monkeypatch.setattr(work, "predict_under", None)
    perform_all(plan_of(**{**TWINS, "scores": UNDER}), store)
    row = load_ledger(store.path).iloc[0]
    folder = store.run(row["run_id"])
    predictions = folder.read_predictions(folder.read_record(), cases=True)
    temperature = row["temperature~calibrated"]
    cases = {case: kept.divided(temperature, 10) for case, kept in predictions.cases.items()}
    twin = replace(predictions, test=divided(predictions.test, temperature), cases=cases)
    read = {case.condition for case in predictions.cases if case.kind == "inputs"}
    for name in UNDER[:2]:
        assert row[f"{name}~calibrated"] == SCORES[name](twin.limited_to(read))
        assert row[f"{name}~calibrated"] != pytest.approx(row[name], rel=1e-3)
    assert row["ood_auroc~calibrated"] == pytest.approx(SCORES["ood_auroc"](twin))
    assert "corruption_accuracy~calibrated" not in row.index


@pytest.mark.parametrize("calibration_size", [None, 0])
def test_a_table_by_severity_has_its_calibration_too(calibration_size, plan_of, store):
    data = {"name": "digits", "train_size": 60, "calibration_size": calibration_size}
    perform_all(plan_of(**{**TWINS, "data": data, "scores": [*UNDER, "quantized_accuracy"]}), store)
    row, table = load_ledger(store.path).iloc[0], load_results(store.path).conditions
    corrupted = table[table["kind"] == "inputs"]
    for name in ("ece", "nll"):
        assert row[f"corruption_{name}~calibrated"] == pytest.approx(corrupted[f"{name}~calibrated"].mean())
        assert row[f"corruption_{name}"] == pytest.approx(corrupted[name].mean())
    clean = table[table["kind"] == "clean"].iloc[0]
    assert clean["nll~calibrated"] == pytest.approx(row["test_loss~calibrated"], rel=1e-6)
    assert table.loc[table["kind"] == "weights", "ece~calibrated"].isna().all()
    # Severity after severity it is less.
    assert (corrupted.groupby("severity")["nll~calibrated"].mean().diff().dropna() > 0).all()


@pytest.mark.parametrize("calibration_size", [None, 0])
def test_where_classes_were_left_out_the_model_is_asked_again(calibration_size, plan_of, store, tmp_path, monkeypatch):
    data = {"name": "digits", "train_size": 60, "calibration_size": calibration_size}
    study = {**TWINS, "data": data, "scores": UNDER}
    perform_all(plan_of(**study), store)
    # As of more than ten classes, and as it was of more than five.
    monkeypatch.setattr(splits, "WHOLE", 5)
    few = Store(tmp_path / "few")
    perform_all(plan_of(**study), few)
    folder = few.run(load_ledger(few.path).iloc[0]["run_id"])
    predictions = folder.read_predictions(folder.read_record(), cases=True)
    assert {kept.top.shape[1] for kept in predictions.cases.values()} == {5}
    found, expected = (load_ledger(one.path).iloc[0] for one in (few, store))
    for name in UNDER:
        columns = [name, f"{name}~calibrated"] if name != "corruption_accuracy" else [name]
        assert found[columns].tolist() == pytest.approx(expected[columns].tolist(), rel=1e-6)


def test_a_plan_reckons_with_twins_that_are_evaluated_anew_once(plan_of, monkeypatch):
    plan = plan_of(**{**TWINS, "twins": ["calibrated", "matched_confidence"], "scores": UNDER})
    (run,) = plan.runs.values()
    timing = Timing(plan, "cpu")
    monkeypatch.setattr(timing, "forward", lambda run: 1.0)

    def passes():
        stages = [stage for stage in in_order(plan.requested.stages) if stage.name in ("by_condition", "scores")]
        left = [{at: plan.wanted.at(at, stage.name) for at in plan.requested.snapshots} for stage in stages]
        return [stage.seconds(timing, run, one) / 797 for stage, one in zip(stages, left, strict=True)]

    assert passes() == [0.0, 0.0]
    monkeypatch.setattr(splits, "WHOLE", 5)
    corruptions = sum(name != "shuffled_values" for name in plan.requested.conditions)
    # The table has the calibrated twin; its scores need the other data too, those of the other twin all.
    assert passes() == [5 * corruptions, 1 + 5 * corruptions + 1]


def test_bins_of_the_debiased_error_are_those_of_the_calibration_split(plan_of, store, data):
    perform_all(plan_of(**{**TWINS, "scores": ["ece_debiased"]}), store)
    row = load_ledger(store.path).iloc[0]
    folder = store.run(row["run_id"])
    predictions = folder.read_predictions(folder.read_record())
    inputs, targets = data.calibration
    logits = model_at(folder, "end", data).float()(data.normalize(inputs)).detach().numpy()
    held = replace(predictions, calibration=Split(logits, targets.numpy()))
    assert row["ece_debiased"] == pytest.approx(SCORES["ece_debiased"](held), rel=1e-5)
    assert row["ece_debiased"] != pytest.approx(SCORES["ece_debiased"](predictions), rel=1e-3)
    (twin,) = readings(held, Fit(row["temperature~calibrated"], converged=True))
    assert row["ece_debiased~calibrated"] == pytest.approx(SCORES["ece_debiased"](twin), rel=1e-5)


def test_without_a_calibration_split_halves_of_the_test_set_serve(plan_of, store):
    some = {"name": "digits", "train_size": 60, "calibration_size": 0}
    perform_all(plan_of(**TWINS, data=some), store)
    row = load_ledger(store.path).iloc[0]
    folder = store.run(row["run_id"])
    entry = folder.read_record().at("end~calibrated", "temperature")["temperature"]
    assert entry["fitted_to"] == "halves of the test set"
    fit = Fit(row["temperature~calibrated"], True, tuple(map(tuple, entry["halves"])))
    assert len(fit.halves) == 5
    found = readings(folder.read_predictions(folder.read_record()), fit)
    assert row["ece~calibrated"] == np.mean([SCORES["ece"](reading) for reading in found])
    assert row["test_loss~calibrated"] == pytest.approx(np.mean([r.test.cross_entropy for r in found]))


def test_a_temperature_at_its_bound_leaves_the_twin_out(plan_of, store, monkeypatch):
    monkeypatch.setattr(stage, "fitted", lambda held: Fit(math.exp(-4), converged=False))
    plan = plan_of(**TWINS)
    outcomes = perform_all(plan, store)
    assert {o.state for o in outcomes} == {"done"}
    assert not any(o.missing for o in outcomes)
    ledger = load_ledger(store.path)
    assert (ledger["temperature~calibrated"] == math.exp(-4)).all()
    assert not ledger["temperature~calibrated_converged"].any()
    assert ledger[["ece~calibrated", "relative_flatness~calibrated", "train_loss~calibrated"]].isna().all(axis=None)
    assert ledger["ece"].notna().all()
    # It is what was found, and not to be tried again.
    assert [o.stages for o in perform_all(plan, store)] == [()]
    assert Status.of(store).sound


def test_a_level_that_was_not_reached_has_no_twin(plan_of, store):
    training = {**TWINS["training"], "checkpoints_at_loss": [1e-9]}
    perform_all(plan_of(**{**TWINS, "training": training}), store)
    ledger = load_ledger(store.path)
    assert ledger["temperature@1e-09~calibrated"].isna().all()
    assert ledger["temperature~calibrated"].notna().all()
    assert Status.of(store).sound


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


def test_runs_are_the_same_with_and_without_twins(plan_of):
    assert list(plan_of(**TWINS).runs) == list(plan_of(**{**TWINS, "twins": []}).runs)


def test_what_a_report_tells_of_twins(plan_of, store):
    perform_all(plan_of(**TWINS, primary=["ece", "ece~calibrated"]), store)
    results = load_results(store.path)
    quantity = results.quantities["relative_flatness@2~calibrated"]
    assert (quantity.label, quantity.matched_loss, quantity.twin) == (
        *("Relative flatness at train loss 2, calibrated", "2", "calibrated"),
    )
    # Those of the primary family are compared; the others are columns for whoever asks for them.
    assert results.primary == ["ece", "ece~calibrated"]
    assert [name for name in results.measured if "~" in name] == ["ece~calibrated"]
    assert json.loads((store.path / "catalog.json").read_text())["study"]["twins"] == ["calibrated"]


def test_twins_that_there_are_not_are_refused(plan_of):
    with pytest.raises(SpecError, match=r"calibrated"):
        plan_of(twins=["lukewarm"])
    with pytest.raises(SpecError, match=r"twins are listed once each, got calibrated, calibrated"):
        plan_of(twins=["calibrated", "calibrated"])
    with pytest.raises(SpecError, match=r"predicted numbers have none; leave twins out"):
        plan_of(data="diabetes", twins=["calibrated"], scores=["r2"])


WITHOUT_HEAD = """
import torch
from torch import nn
from sharpscope.extend import MODELS

@MODELS.register()
def tied(shape, outputs):
    "A network whose head is used twice."
    return Tied(outputs)

class Tied(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.first = nn.Linear(64, outputs)
        self.head = nn.Linear(outputs, outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.head(self.first(x.flatten(1)))))
"""


def test_a_model_whose_head_is_used_twice_says_so(plan_of, store, tmp_path):
    (tmp_path / "tied.py").write_text(WITHOUT_HEAD)
    try:
        plan = plan_of(**{**TWINS, "measures": ["gradient_norm"]}, model="tied", plugins=["tied.py"])
        (outcome,) = perform_all(plan, store)
    finally:
        MODELS._entries.pop("tied", None)
    assert outcome.state == "done"
    told = outcome.missing["gradient_norm~calibrated"]
    assert "leave twins out" in told or "head" in told
    assert "ece~calibrated" not in outcome.missing


MATCHED = {**TWINS, "twins": ["calibrated", "matched_confidence"], "regimes": ["sam", "baseline"], "grid": {"seed": 2}}


def train_split(store, run_id):
    folder = store.run(run_id)
    return folder.read_predictions(folder.read_record()).train


def test_a_twin_is_as_sure_as_the_reference_of_its_seed(plan_of, store):
    plan = plan_of(**MATCHED)
    # A reference comes before those that are matched with it, and all of a seed are done by one process.
    runs = {(run.regime.label, run.seed): run_id for run_id, run in plan.runs.items()}
    assert plan.jobs == [tuple(runs[regime, seed] for seed in (0, 1) for regime in ("baseline", "sam"))]
    store.write_catalog(plan.catalog)
    reference, own, *_ = plan.jobs[0]
    outcomes = [execute(run_id, assignment_of(plan, store), DataCache(None)) for run_id in (reference, own)]
    assert [(outcome.state, outcome.missing) for outcome in outcomes] == [("done", {})] * 2
    ledger = load_ledger(store.path).set_index("run_id")
    found, other = ledger.loc[own], ledger.loc[reference]
    twin = divided(train_split(store, own), found["temperature~matched_confidence"])
    assert entropy(twin) == pytest.approx(entropy(train_split(store, reference)), rel=1e-6)
    assert found["temperature~matched_confidence"] != pytest.approx(1.0, rel=1e-3)
    assert np.isfinite(found["relative_flatness@2~matched_confidence"])
    assert other["temperature~matched_confidence"] == pytest.approx(1.0)
    for name in ("ece", "relative_flatness", "test_loss"):
        assert other[f"{name}~matched_confidence"] == pytest.approx(other[name])


@pytest.mark.slow
def test_another_reference_is_matched_anew_and_no_run_is_trained(plan_of, store):
    first, second = plan_of(**MATCHED), plan_of(**MATCHED, compare={"reference": "sam"})
    assert first.runs == second.runs
    for plan in (first, second):
        heard = Heard()
        with in_this_process():
            assert run_study(plan, store, heard, executor="here").whole
    stages = {stage for outcome in heard.outcomes for stage in outcome.stages}
    assert stages == {"temperature", "predictions", "measures", "scores"}
    ledger = load_ledger(store.path)
    ones = ledger.loc[ledger["regime"] == "sam", "temperature~matched_confidence"]
    assert ones.tolist() == pytest.approx([1.0, 1.0])
    with in_this_process():
        assert run_study(second, store, Heard(), executor="here").kept == 4


def test_a_run_whose_reference_is_not_there_says_so_until_it_is(plan_of, store):
    plan = plan_of(**MATCHED)
    store.write_catalog(plan.catalog)
    ((reference, own, *_),) = plan.jobs
    assignment = assignment_of(plan, store)
    alone = execute(own, assignment, DataCache(None))
    assert alone.state == "done"
    assert (
        f"run {reference}, the reference that it is matched with, is not done yet"
        in (alone.missing["temperature~matched_confidence"])
    )
    execute(reference, assignment, DataCache(None))
    later = execute(own, assignment, DataCache(None))
    assert not later.missing
    assert "training" not in later.stages


def test_what_was_matched_with_another_reference_is_of_no_use(plan_of, store):
    changes = {**MATCHED, "grid": {"seed": 1}}
    first, second = plan_of(**changes), plan_of(**changes, compare={"reference": "sam"})
    ((baseline, sam),) = first.jobs
    for run_id in (baseline, sam):
        execute(run_id, assignment_of(first, store), DataCache(None))
    (store.run(sam).path / "run.json").unlink()
    outcome = execute(baseline, assignment_of(second, store), DataCache(None))
    assert "is not done yet" in outcome.missing["temperature~matched_confidence"]
    assert "could not be had" in outcome.missing["relative_flatness~matched_confidence"]
    store.write_catalog(second.catalog)
    ledger = load_ledger(store.path).set_index("run_id")
    assert ledger.loc[baseline].filter(like="~matched").isna().all()


def test_where_the_reference_diverged_there_is_no_twin(plan_of, store):
    plan = plan_of(**{**MATCHED, "grid": {"seed": 1}})
    ((reference, own),) = plan.jobs
    store.write_catalog(plan.catalog)
    record = Record(reference, state="diverged", reason="the train loss became NaN")
    store.run(reference).path.mkdir(parents=True)
    store.run(reference).write_record(record)
    outcome = execute(own, assignment_of(plan, store), DataCache(None))
    assert (outcome.state, outcome.missing) == ("done", {})
    row = load_ledger(store.path).set_index("run_id").loc[own]
    assert math.isnan(row["temperature~matched_confidence"])
    assert math.isnan(row["ece~matched_confidence"])
    assert np.isfinite(row["ece~calibrated"])


def test_references_are_those_of_the_same_setting(plan_of):
    grid = {"seed": 2, "training.lr": [0.1, 0.2]}
    plan = plan_of(**{**MATCHED, "grid": grid})
    for run_id, reference in plan.references.items():
        own, other = plan.runs[run_id], plan.runs[reference]
        assert (own.seed, own.training.lr) == (other.seed, other.training.lr)
        assert other.regime.label == "baseline"
    compared = plan_of(**{**MATCHED, "grid": grid, "compare": {"factor": "training.lr", "reference": 0.2}})
    for run_id, reference in compared.references.items():
        own, other = compared.runs[run_id], compared.runs[reference]
        assert (own.seed, own.regime.label, other.training.lr) == (other.seed, other.regime.label, 0.2)
    radii = {"seed": 1, "regimes.sam.rho": [0.05, 0.1]}
    option = plan_of(**{**MATCHED, "grid": radii, "compare": {"factor": "regimes.sam.rho"}})
    assert {option.runs[reference].regime.label for reference in option.references.values()} == {"baseline"}
    assert len(option.references) == 3
    assert plan_of(**TWINS).references == {}


@pytest.mark.slow
def test_a_study_that_is_killed_at_any_moment_has_the_same_ledger(plan_of, study_file, store, tmp_path):
    changes = {**MATCHED, "grid": {"seed": 3}}
    whole = Store(tmp_path / "whole")
    plan = plan_of(**changes)
    with in_this_process():
        assert run_study(plan, whole, Heard(), executor="here").whole
    arguments = ("run", study_file(**changes), "--out", store.path, "--workers", 2)
    for done in (1, 3, 4):
        process = start(*arguments)
        while len(list(store.path.glob("runs/*/run.json"))) < done and process.poll() is None:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    code, _, _ = finish(*arguments)
    assert code == 0
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(whole.path), check_exact=True)
