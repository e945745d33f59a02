"""What each test sample adds to scores: what is stored of it, and when it is made."""

from __future__ import annotations

import pytest

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.analysis.new_data import Samples, new_data_table
from sharpscope.safety import SCORES

from .conftest import perform_all

SCORED = ["accuracy", "brier", "corruption_accuracy", "corruption_nll", "ece"]
SAMPLES = 797


def test_it_is_what_the_columns_of_the_ledger_are_means_of(plan_of, store):
    scores = {**{name: {} for name in SCORED}, "blurred": {"score": "corruption_accuracy", "corruptions": "blur"}}
    plan = plan_of(scores=scores, measures=["gradient_norm"])
    perform_all(plan, store)
    arrays, unread = load_results(store.path).arrays("by_sample")
    assert not unread
    ledger = load_ledger(store.path).set_index("run_id")
    assert set(arrays) == set(ledger.index)
    for run_id, found in arrays.items():
        assert set(found) == {
            *("test_accuracy", "test_loss", "brier", "corruption_accuracy", "corruption_nll", "blurred")
        }
        assert {len(values) for values in found.values()} == {SAMPLES}
        assert found["test_accuracy"].dtype == bool
        for name, values in found.items():
            assert values.mean(dtype=float) == pytest.approx(ledger.loc[run_id, name], rel=1e-6)
        predictions = store.run(run_id).read_predictions(store.run(run_id).read_record())
        assert (found["test_accuracy"] == SCORES["accuracy"].facts.by_sample(predictions)).all()


def test_a_report_tells_new_seeds_from_new_samples(plan_of, store):
    plan = plan_of(scores=["brier"], measures=["gradient_norm"], grid={"seed": 3})
    perform_all(plan, store)
    results = load_results(store.path)
    table = new_data_table(results, Samples.of(results))
    assert set(table["quantity"]) == {"test_loss", "test_accuracy", "brier"}
    assert (table[["sd_seed", "sd_test"]] > 0).all(axis=None)
    assert (table["samples"] == SAMPLES).all()


def test_it_is_made_of_stored_predictions_and_anew_where_the_score_is_another_one(plan_of, store):
    perform_all(plan_of(scores=["ece"]), store)
    later = plan_of(scores=["ece", "brier"])
    assert {o.stages for o in perform_all(later, store)} == {("by_sample", "scores")}
    assert {o.stages for o in perform_all(later, store)} == {()}
    store.run(next(iter(later.runs))).path.joinpath("by_sample-brier-end.safetensors").unlink()
    assert sorted(o.stages for o in perform_all(later, store)) == [(), (), (), ("by_sample",)]


def test_a_key_of_its_own_is_no_alias(plan_of):
    plan = plan_of(scores={"nll": {"score": "brier"}, "mine": {"score": "nll"}}, measures=["gradient_norm"])
    wanted = plan.wanted.at("end", "by_sample")
    assert {key: stamp["score"] for key, stamp in wanted.items()} == {
        **{"test_accuracy": "accuracy", "test_loss": "nll"},
        **{"nll": "brier", "mine": "nll"},
    }


def test_a_regression_has_none(plan_of, store):
    plan = plan_of(data="diabetes", scores=["r2"], measures=["gradient_norm"], grid={"seed": 1})
    assert all("by_sample" not in stages for stages in plan.wanted.snapshots.values())
