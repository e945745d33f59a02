"""How runs fare under each condition: kept with each run, and one table of the study."""

from __future__ import annotations

import pytest

from sharpscope.analysis.ledger import load_results
from sharpscope.study.stages import predict

from .conftest import perform_all
from .test_conditions import SCORED, plugin  # noqa: F401 - a fixture

CASES = [("clean", 0), ("darkness", 1), ("darkness", 2), ("rounded", 8), ("rounded", 3)]


def test_a_study_has_a_row_for_each_run_and_case(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED)
    outcomes = perform_all(plan, store)
    assert outcomes[0].stages == (
        "training",
        "predictions",
        "measures",
        "by_condition",
        "by_sample",
        "reliability",
        "scores",
    )
    results = load_results(store.path)
    found = results.conditions
    assert list(found[["condition", "severity"]].itertuples(index=False, name=None)) == CASES * len(plan.runs)
    assert set(found["samples"]) == {797}
    assert not found["like"].any()
    means = found.groupby(["run_id", "condition"])[["accuracy", "nll"]].mean()
    ledger = results.ledger.set_index("run_id")
    for run_id in plan.runs:
        assert means.loc[(run_id, "darkness"), "accuracy"] == pytest.approx(ledger.loc[run_id, "dark_accuracy"])
        assert means.loc[(run_id, "rounded"), "nll"] == pytest.approx(ledger.loc[run_id, "rounded_nll"])
        assert means.loc[(run_id, "clean"), "accuracy"] == ledger.loc[run_id, "test_accuracy"]


def test_it_follows_the_conditions_that_a_study_asks_for(plugin, plan_of, store):  # noqa: F811
    study = {"plugins": [plugin], "regimes": ["baseline"], "grid": {"seed": 1}}
    perform_all(plan_of(scores=["accuracy"], **study), store)
    assert load_results(store.path).conditions.empty
    narrow = plan_of(scores=["dark_accuracy"], **study)
    assert perform_all(narrow, store)[0].stages == ("predictions", "by_condition", "reliability", "scores")
    assert set(load_results(store.path).conditions["condition"]) == {"clean", "darkness"}
    wide = plan_of(scores=["dark_accuracy", "rounded_nll"], **study)
    assert "by_condition" in perform_all(wide, store)[0].stages
    assert set(load_results(store.path).conditions["condition"]) == {"clean", "darkness", "rounded"}
    # What it has more than is asked for is neither lost nor shown.
    assert perform_all(narrow, store)[0].stages == ()
    assert set(load_results(store.path).conditions["condition"]) == {"clean", "darkness"}
    assert perform_all(wide, store)[0].stages == ()


def test_it_is_made_of_what_is_stored(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, regimes=["baseline"], grid={"seed": 1})
    perform_all(plan, store)
    before = load_results(store.path).conditions
    folder = store.run(next(iter(plan.runs)))
    record = folder.read_record()
    del record.snapshots["end"]["by_condition"]
    folder.write_record(record)
    assert load_results(store.path).conditions.empty
    assert perform_all(plan, store)[0].stages == ("by_condition",)
    assert load_results(store.path).conditions.equals(before)


def test_what_a_regime_was_trained_on_the_like_of_is_told(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, grid={"seed": 1})
    perform_all(plan, store)
    plan.catalog["trained_on_the_like"]["sam"] = ["darkness"]
    store.write_catalog(plan.catalog)
    like = load_results(store.path).conditions.query("like")
    assert set(like["regime"]) == {"sam"}
    assert set(like["condition"]) == {"darkness"}


def test_a_condition_that_fails_costs_its_rows_alone(plugin, plan_of, store, monkeypatch):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, regimes=["baseline"], grid={"seed": 1})
    under = predict.predict_under

    def failing(model, dataset, cases, device):
        found = under(model, dataset, cases, device)
        if any(case.condition == "darkness" for case in found):
            raise ZeroDivisionError("no light")
        return found

    monkeypatch.setattr(predict, "predict_under", failing)
    assert "no light" in perform_all(plan, store)[0].missing["by_condition"]
    assert set(load_results(store.path).conditions["condition"]) == {"clean", "rounded"}
    monkeypatch.undo()
    assert perform_all(plan, store)[0].missing == {}
    assert set(load_results(store.path).conditions["condition"]) == {"clean", "darkness", "rounded"}
