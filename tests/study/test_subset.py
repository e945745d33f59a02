"""Measures of a study on a part of the training data: the same samples for every run, with the error of the choice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from sharpscope import measure
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.curvature.risk.batches import Batches
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.run.forecast import forecast, show, to_json
from sharpscope.study.source.study import load_source
from sharpscope.study.work.outputs import CleanBatches

from .conftest import perform_all

DATA = DATASETS["digits"](DataSource(), train_size=60)


def test_all_runs_are_measured_on_the_same_samples_with_the_error_of_their_choice(plan_of, store):
    plan = plan_of(measures_subset=32, measures=["relative_flatness", "gradient_norm", "parameter_norm"])
    perform_all(plan, store)
    drawn = list(Batches(CleanBatches(DATA), subset=32, stream=Stream("study", "subset")))
    samples = [(batch.inputs, batch.targets) for batch in drawn]
    ledger = load_ledger(store.path)
    for index, run_id in enumerate(plan.runs):
        model = build("mlp", DATA.input_shape, 10, Stream("other"), hidden=[8])
        model.load_state_dict(load_file(store.run(run_id).path / "weights.safetensors"))
        for key in ("relative_flatness", "gradient_norm"):
            assert ledger[key][index] == pytest.approx(measure(model, samples, [key])[key].value, rel=1e-6)
            assert 0 < ledger[f"{key}_stderr"][index] < abs(ledger[key][index])
        stored = store.run(run_id).read_record().at("end", "measures")["relative_flatness"]
        assert (stored["samples"], stored["subset"], stored["details"]["population"]) == (32, 32, 60)
    assert (ledger["parameter_norm_stderr"] == 0).all()
    results = load_results(store.path)
    assert {found["population"] for found in results.details("relative_flatness").values()} == {60}
    assert set(results.details("relative_flatness")) == set(plan.runs)
    assert results.details("hessian_density") == {}
    (caveat,) = results.quantities["relative_flatness"].caveats[:1]
    assert caveat.startswith("Taken on 32 training samples at most, the same of every run")


def test_another_subset_measures_again_and_trains_nothing(plan_of, store):
    perform_all(plan_of(), store)
    on_all = load_ledger(store.path)
    part = plan_of(measures_subset=32)
    assert {outcome.stages for outcome in perform_all(part, store)} == {("measures",)}
    assert {outcome.stages for outcome in perform_all(part, store)} == {()}
    assert (load_ledger(store.path)["relative_flatness"] != on_all["relative_flatness"]).all()
    assert {outcome.stages for outcome in perform_all(plan_of(), store)} == {("measures",)}
    assert load_ledger(store.path).equals(on_all)


def test_a_subset_that_is_all_samples_has_no_error(plan_of, store, tmp_path):
    perform_all(plan_of(measures_subset=4096), store)
    perform_all(plan_of(), Store(tmp_path / "all"))
    found, on_all = load_ledger(store.path), load_ledger(tmp_path / "all")
    assert np.allclose(found["relative_flatness"], on_all["relative_flatness"], rtol=1e-12)
    assert (found["relative_flatness_stderr"] == 0).all()


def test_a_measure_may_have_a_subset_of_its_own(plan_of, store):
    training = {"epochs": 12, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [1.0]}
    measures = {"on_all": {"measure": "gradient_norm", "subset": None}, "gradient_norm": None, "few": {"subset": 24}}
    measures["few"]["measure"] = "gradient_norm"
    plan = plan_of(measures=measures, measures_subset=32, training=training, regimes=["baseline"])
    perform_all(plan, store)
    record = store.run(next(iter(plan.runs))).read_record()
    for found in (record.at("end", "measures"), record.at("loss-1", "measures")):
        assert {key: estimate["samples"] for key, estimate in found.items()} == {
            "on_all": 60,
            "gradient_norm": 32,
            "few": 24,
        }
    again = make_plan(load_source(str(store.path / "study.yaml")))
    assert again.requested == plan.requested


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measures_subset": 0}, "measures_subset: input should be greater than 0, got 0"),
        ({"measures_subset": "all"}, "measures_subset: expected a whole number, got 'all'"),
        ({"measures": {"margin": {"subset": 0.5}}}, "line 19: the subset that a measure is taken on is a number of"),
        ({"scores": {"ece": {"subset": 9}}}, "unknown option 'subset' of score 'ece'"),
    ],
)
def test_what_is_no_subset_is_refused(changes, message, plan_of):
    with pytest.raises(SpecError, match=message):
        plan_of(**changes)


def test_a_plan_tells_samples_and_what_takes_space(plan_of, store):
    plan = plan_of(measures={"margin": None, "gradient_norm": {"subset": 32}}, scores=["ece"])
    found = forecast(plan, store, 1)
    text = show(plan, found)
    assert "measures: margin; gradient_norm on 32 samples" in text
    assert found.disk["outputs on training data"] == 4 * 60 * (4 * 10 + 8)
    # Two regimes share the initial weights of a seed.
    assert found.disk["weights"] == (4 + 2) * 4 * (64 * 8 + 8 + 8 * 10 + 10)
    assert json.loads(to_json(plan, found))["bytes"] == sum(found.disk.values())
    assert "of weights, 12 kB of outputs on training data" in text
