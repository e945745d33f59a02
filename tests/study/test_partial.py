"""A measure, a score or a pair that fails costs nothing but itself."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from tests.pages import page_of

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.cli import run_command
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.status import Status
from sharpscope.study.run.engine import assignment_of
from sharpscope.study.stages import predict
from sharpscope.study.work.assignment import record_failure

from .conftest import perform_all

PLUGIN = """
from pathlib import Path

from sharpscope.extend import SCORES, Estimate, MeasureFacts, ScoreFacts, measure

MENDED = Path(__file__).with_name("mended")

@measure(MeasureFacts("Fragile", "f", "larger", frozenset(), "none", True, ""))
def fragile(risk):
    '''A number, or none (larger is sharper).'''
    return Estimate(1.0 if MENDED.exists() else 1 / 0)
    yield

@SCORES.register(facts=ScoreFacts("Fragile", "lower", "fraction"))
def fragile_score(predictions):
    '''A number, or none.'''
    return 0.5 if MENDED.exists() else {}["absent"]

@SCORES.register(facts=ScoreFacts("Fragile", "lower", "fraction", of_pairs=True))
def fragile_pair(first, second):
    '''A number, or none.'''
    return 0.25 if MENDED.exists() else 1 / 0
"""
FRAGILE = {
    "plugins": ["fragile.py"],
    "measures": ["relative_flatness", "fragile", "gradient_norm"],
    "scores": ["ece", "fragile_score", "prediction_disagreement"],
    "sections": ["levels", "failures"],
}
REASON = "ZeroDivisionError: division by zero"


@pytest.fixture
def plugin(tmp_path):
    """A plugin whose measure and scores fail until the file that is yielded is there."""
    (tmp_path / "fragile.py").write_text(PLUGIN)
    return tmp_path / "mended"


def test_what_fails_takes_nothing_else_with_it_and_is_tried_again(plugin, plan_of, store):
    perform_all(plan_of(), store)
    before = load_ledger(store.path)
    plan = plan_of(**FRAGILE)
    outcomes = perform_all(plan, store)
    assert {o.state for o in outcomes} == {"done"}
    assert outcomes[0].missing == {"fragile": REASON, "fragile_score": "KeyError: 'absent'"}
    ledger = load_ledger(store.path)
    assert ledger[["fragile", "fragile_score"]].isna().all().all()
    kept = [c for c in before if c != "prediction_disagreement" and c in ledger and c != "generalization_gap"]
    pd.testing.assert_frame_equal(ledger[kept], before[kept], check_exact=True)

    assert "4 done; 4 of those done lack something" in str(Status.of(store))
    assert f"lacks fragile ({REASON}); fragile_score (KeyError: 'absent')" in str(Status.of(store))
    assert json.loads(Status.of(store).to_json())["runs"][0]["missing"]["fragile"] == REASON
    page = page_of(load_results(store.path))
    assert f'<td><code>fragile</code></td><td class="number">4</td><td>{REASON}</td>' in page

    plugin.touch()
    again = perform_all(plan, store)
    assert {o.stages for o in again} == {("measures", "scores")}
    assert not again[0].missing
    assert load_ledger(store.path)["fragile"].eq(1.0).all()
    assert "lack" not in str(Status.of(store))


def test_a_new_run_keeps_the_measures_beside_the_one_that_fails(plugin, plan_of, store, tmp_path):
    perform_all(plan_of(**FRAGILE), store)
    whole = Store(tmp_path / "whole")
    perform_all(plan_of(), whole)
    columns = ["relative_flatness", "gradient_norm", "ece", "train_loss"]
    pd.testing.assert_frame_equal(load_ledger(store.path)[columns], load_ledger(whole.path)[columns], check_exact=True)


def test_a_measure_that_fails_at_a_matched_loss_is_told_under_its_column(plugin, plan_of, store):
    training = {"epochs": 6, "batch_size": 16, "checkpoints_at_loss": [2.25]}
    plan = plan_of(training=training, grid={"seed": 1}, regimes=["baseline"], **FRAGILE)
    (outcome,) = perform_all(plan, store)
    assert outcome.missing["fragile@2.25"] == REASON
    assert load_ledger(store.path)["relative_flatness@2.25"].notna().all()


def test_a_run_that_was_done_stays_done_whatever_is_added_to_it(plan_of, store, monkeypatch):
    perform_all(plan_of(), store)
    before = load_ledger(store.path)

    def broken(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(predict, "predict_under", broken)
    more = plan_of(scores=["ece", "generalization_gap", "prediction_disagreement", "corruption_accuracy"])
    outcomes = perform_all(more, store)
    assert {o.state for o in outcomes} == {"done"}
    told = outcomes[0].missing["corruption_accuracy"]
    assert told.startswith("there are no predictions under ")
    assert told.endswith(" others (RuntimeError: no memory)")
    pd.testing.assert_frame_equal(load_ledger(store.path)[list(before)], before, check_exact=True)


def test_a_worker_that_dies_leaves_a_run_that_was_done(plan_of, store):
    plan = plan_of()
    perform_all(plan, store)
    more = plan_of(measures=["relative_flatness", "gradient_norm", "margin"])
    outcome = record_failure(next(iter(plan.runs)), assignment_of(more, store), "the worker process died")
    assert outcome.state == "done"
    assert outcome.missing == {"margin": "the worker process died"}
    assert load_ledger(store.path)["relative_flatness"].notna().all()


def test_a_worker_that_dies_after_its_work_leaves_it_done(plan_of, store):
    plan = plan_of()
    perform_all(plan, store)
    run_id = next(iter(plan.runs))
    before = (store.run(run_id).path / "run.json").read_bytes()
    outcome = record_failure(run_id, assignment_of(plan, store), "the worker process died")
    assert (outcome.state, outcome.reason) == ("done", "")
    assert outcome.notes == (f"run {run_id}: the worker process died",)
    assert (store.run(run_id).path / "run.json").read_bytes() == before


def test_a_failed_run_lacks_nothing_but_itself(plan_of):
    record = Record("r", "failed", "out of memory")
    assert record.lacking(plan_of().wanted) == {}


def test_the_command_reports_what_is_there_and_exits_with_1(here, plugin, study_file, store, capsys):
    study = study_file(**FRAGILE)
    assert run_command(["run", str(study), "--out", str(store.path), "--executor", "here"]) == 1
    out, err = capsys.readouterr()
    assert "4 of 4 runs done, 4 of them not wholly" in out
    assert f"lacks fragile ({REASON})" in err
    assert f"What failed, and why: sharpscope status {store.path}" in err
    assert (store.path / "report.html").is_file()
    plugin.touch()
    assert run_command(["run", str(study), "--out", str(store.path), "--executor", "here"]) == 0
    assert update_pairs(store).notes == []


def test_a_pair_that_fails_costs_neither_ledger_nor_report_and_is_tried_again(here, plugin, study_file, store, capsys):
    study = study_file(**{**FRAGILE, "measures": [], "scores": ["ece", "fragile_pair", "prediction_disagreement"]})
    command = ["run", str(study), "--out", str(store.path), "--executor", "here"]
    assert run_command(command) == 1
    out, err = capsys.readouterr()
    assert "4 of 4 runs done, 2 scores of pairs failed" in out
    assert f"Note: 'fragile_pair' failed for 2 of the pairs: {REASON}" in err
    ledger = load_ledger(store.path)
    assert ledger["fragile_pair"].isna().all()
    assert ledger["prediction_disagreement"].notna().all()
    assert (
        f'<td><code>fragile_pair</code></td><td class="number">2</td><td>{REASON}</td>'
        in (store.path / "report.html").read_text()
    )
    assert str(Status.of(store)).count(f"lacks fragile_pair ({REASON})") == 2
    assert run_command(["report", str(store.path)]) == 0
    plugin.touch()
    assert run_command(command) == 0
    assert load_ledger(store.path)["fragile_pair"].eq(0.25).all()


def test_a_pair_is_computed_once_until_its_predictions_or_its_definition_change(plan_of, store, monkeypatch):
    perform_all(plan_of(), store)
    update_pairs(store)
    whole = (store.path / "pairs.parquet").read_bytes()
    read = []
    original = RunFolder.read_predictions
    monkeypatch.setattr(
        RunFolder, "read_predictions", lambda self, r, **how: read.append(self.run_id) or original(self, r, **how)
    )
    update_pairs(store)
    assert read == []
    assert (store.path / "pairs.parquet").read_bytes() == whole
    first = store.run(next(iter(plan_of().runs)))
    record = first.read_record()
    record.files["predictions.safetensors"]["blake2b"] = "0"
    first.write_record(record)
    assert update_pairs(store).notes == [
        f"run {record.run_id}: predictions.safetensors is damaged; its pairs are left out"
    ]
    # The two of its cell; and it with each run of the other regime, of which the seeds come one after the other.
    assert len(read) == 2 + 3
