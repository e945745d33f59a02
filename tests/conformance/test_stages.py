"""Every stage says before the work what it will find, finds that, and finds nothing left to do afterwards."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from tests.study.conftest import TINY, perform_all

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.planning.plugins import stages_of
from sharpscope.study.source.study import load_source
from sharpscope.study.work.stage import STAGES, in_order, stages_at
from sharpscope.study.work.timing import Timing

NAMES = stages_of(())
STUDY = {
    **TINY,
    "training": {"epochs": 12, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [2.0, 1e-9]},
    "regimes": ["baseline"],
    "grid": {"seed": 1},
    "scores": ["ece", "corruption_accuracy", "cka", "cka_untrained"],
    "twins": ["calibrated"],
    "watch": {"steps": [0, 1, 10], "measures": ["gradient_norm"]},
}
FOUND = {"end": "", "loss-2": "@2", "end~calibrated": "~calibrated", "loss-2~calibrated": "@2~calibrated"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    plan = make_plan(load_source(str(folder / "tiny.yaml")))
    store = Store(folder / "out")
    (outcome,) = perform_all(plan, store)
    # Digits are no points in the plane.
    assert set(outcome.stages) == set(NAMES) - {"plane"}
    return plan, store, store.run(outcome.run_id).read_record()


@pytest.fixture(params=NAMES)
def stage(request):
    return next(stage for stage in in_order(NAMES) if stage.name == request.param)


def test_what_is_wanted_is_plain_data(stage, done):
    plan, _, _ = done
    for snapshot in plan.requested.snapshots:
        done_there = stage.name in [s.name for s in stages_at(plan.requested, snapshot)]
        wanted = stage.wanted(plan.requested, snapshot) if done_there else {}
        assert json.loads(json.dumps(wanted)) == wanted
        assert wanted == plan.wanted.at(snapshot, stage.name)


def test_it_finds_what_is_wanted_where_the_training_came(stage, done):
    plan, _, record = done
    for snapshot in FOUND:
        assert set(record.at(snapshot, stage.name)) == set(plan.wanted.at(snapshot, stage.name))
    assert set(record.at("loss-1e-09", stage.name)) <= {"weights"}
    assert record.left(plan.wanted) == {}


def test_its_columns_have_the_numbers_that_it_found(stage, done):
    plan, store, record = done
    ledger = load_ledger(store.path)
    for snapshot, suffix in FOUND.items():
        for column in stage.columns(plan.requested, snapshot) if plan.wanted.at(snapshot, stage.name) else ():
            found = record.at(snapshot, stage.name)[column.key]
            for part in column.path:
                found = found[part]
            assert ledger[column.name + suffix + column.suffix][0] == found
            if column.facts is not None:
                assert {"kind", "label", "summary"} <= set(column.facts)


def test_it_says_what_it_costs(stage, done):
    plan, _, _ = done
    timing = Timing(plan, "cpu")
    (run,) = plan.runs.values()
    left = {snapshot: plan.wanted.at(snapshot, stage.name) for snapshot in plan.requested.snapshots}
    assert 0 <= stage.seconds(timing, run, left) < math.inf
    assert all(size >= 0 for size in stage.disk(timing, run).values())


def test_it_is_described(stage):
    assert STAGES[stage.name].summary
    assert stage.needs in ("run", "weights", "predictions")


def test_each_follows_what_it_needs():
    given = ["run"]
    for stage in in_order(NAMES):
        assert stage.needs in given
        given += [stage.gives] * bool(stage.gives)
