"""Twins of models that are as sure as the reference of their seed."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.safety.temperature import divided, entropy
from sharpscope.store.folder import Store
from sharpscope.store.record import Record
from sharpscope.study.execution import execute
from sharpscope.study.run.engine import assignment_of, run_study
from sharpscope.study.work.data_cache import DataCache

from .conftest import Heard, finish, in_this_process, start
from .twins import TWINS

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
