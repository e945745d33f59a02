"""Twins of models: the same predictions with another confidence, and measures of the model with its head divided."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sharpscope import measure
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import MODELS, build
from sharpscope.safety import SCORES, Split
from sharpscope.safety.temperature import Fit, fitted, readings
from sharpscope.seeding import Stream
from sharpscope.store.status import Status
from sharpscope.study.stages import temperature as stage

from .conftest import perform_all
from .twins import MEASURES, TWINS


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
