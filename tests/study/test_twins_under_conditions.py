"""Twins of models under conditions: clean data set their temperature, and it holds for the corrupted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.safety import SCORES, splits
from sharpscope.safety.temperature import divided
from sharpscope.store.folder import Store
from sharpscope.study.work import work
from sharpscope.study.work.stage import in_order
from sharpscope.study.work.timing import Timing

from .conftest import perform_all
from .twins import TWINS

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
