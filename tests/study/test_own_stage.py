"""A stage of one's own, in one file: done at every snapshot, stored, sealed, resumed, told and read like the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from tests.pages import page_of

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.errors import SpecError
from sharpscope.extend import SECTIONS, STAGES, Column, Stage, StageResult
from sharpscope.registry import Registration
from sharpscope.store.status import Status
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.run.forecast import forecast
from sharpscope.study.source.study import load_source

from .conftest import Broken, perform_all

PLUGIN = """
import numpy as np
import torch
from sharpscope.extend import SECTIONS, STAGES, Column, Content, StageResult, SectionFacts, Stage, Work

@STAGES.register("histogram")
class Histogram(Stage):
    '''How many weights are how large.'''

    needs = "weights"

    def columns(self, requested, snapshot):
        return [Column.of_value("small_weights", self.name, "Share of small weights", unit="fraction")]

    def do(self, work: Work, snapshot, missing):
        weights = torch.cat([p.detach().flatten() for p in work.model(snapshot).parameters()]).numpy()
        counts, edges = np.histogram(weights, bins=20, range=(-1, 1))
        share = float((abs(weights) < 0.1).mean())
        return {self.name: StageResult({"values": {"small_weights": share}}, {"counts": counts, "edges": edges})}

@STAGES.register("losses")
class Losses(Stage):
    '''The loss of each test sample.'''

    needs = "predictions"

    def columns(self, requested, snapshot):
        return [Column.of_value("largest_loss", self.name, "Largest loss", better="lower", unit="nats")]

    def do(self, work: Work, snapshot, missing):
        test = work.predictions(snapshot).test
        losses = -test.log_probabilities[np.arange(len(test.targets)), test.targets]
        return {self.name: StageResult({"values": {"largest_loss": float(losses.max())}}, {"losses": losses})}

@SECTIONS.register(facts=SectionFacts("Weights", place=97, template="<p>{{ count }} weights in bins</p>"))
def bins(evidence):
    '''How many weights are in a bin.'''
    found, unread = evidence.results.arrays("histogram")
    return Content({"count": sum(int(arrays["counts"].sum()) for arrays in found.values())})
"""
LEVELS = {"epochs": 12, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [2.0, 1e-9]}
OWN = {"plugins": ["own.py"], "training": LEVELS, "grid": {"seed": 1}, "measures": ["gradient_norm"], "scores": ["ece"]}
FILES = [f"{stage}-{snapshot}.safetensors" for stage in ("histogram", "losses") for snapshot in ("end", "loss-2")]


@pytest.fixture
def plan(tmp_path, plan_of):
    (tmp_path / "own.py").write_text(PLUGIN)
    yield plan_of(**OWN)
    forget()


def forget():
    for registry, name in ((STAGES, "histogram"), (STAGES, "losses"), (SECTIONS, "bins")):
        registry._entries.pop(name, None)


@pytest.fixture
def done(plan, store):
    assert {o.stages for o in perform_all(plan, store)} == {
        ("training", "predictions", "histogram", "measures", "by_sample", "losses", "reliability", "scores")
    }
    return store


def first(plan, store):
    return store.run(next(iter(plan.runs)))


def test_its_arrays_are_stored_and_sealed_by_snapshot_and_its_numbers_are_columns(plan, done):
    ledger = load_ledger(done.path)
    assert [c for c in ledger if c.startswith("small")] == [f"small_weights{at}" for at in ("", "@2", "@1e-09")]
    for run_id in plan.runs:
        folder = done.run(run_id)
        record = folder.read_record()
        names = (path.name for path in folder.path.glob("*-*.safetensors"))
        assert sorted(name for name in names if not name.startswith(("weights", "by_sample"))) == FILES
        assert set(FILES) <= set(record.files)
        row = ledger.set_index("run_id").loc[run_id]
        for snapshot, weights, at in (("end", "weights", ""), ("loss-2", "weights-at-2", "@2")):
            tensors = load_file(folder.path / f"{weights}.safetensors").values()
            flat = np.concatenate([tensor.ravel() for tensor in tensors])
            counts = load_file(folder.path / f"histogram-{snapshot}.safetensors")["counts"]
            assert counts.tolist() == np.histogram(flat, bins=20, range=(-1, 1))[0].tolist()
            assert row[f"small_weights{at}"] == (abs(flat) < 0.1).mean()
            losses = load_file(folder.path / f"losses-{snapshot}.safetensors")["losses"]
            assert row[f"largest_loss{at}"] == losses.max()
            assert losses.mean() == pytest.approx(row[f"test_loss{at}"])
        assert np.isnan(row["small_weights@1e-09"])
    assert {o.stages for o in perform_all(plan, done)} == {()}


def test_analysis_reads_it_without_its_plugin(plan, done):
    sizes = [sum(p.size for p in load_file(f).values()) for f in done.path.rglob("weights.safetensors")]
    page = page_of(load_results(done.path))
    assert "<h2>Weights</h2>" in page
    assert "Share of small weights" in page
    before = load_ledger(done.path)
    forget()
    pd.testing.assert_frame_equal(load_ledger(done.path), before, check_exact=True)
    results = load_results(done.path)
    assert results.quantities["largest_loss@2"].label == "Largest loss at train loss 2"
    assert results.of_kind("score", "2")[-1] == "largest_loss@2"
    found, unread = results.arrays("histogram", "loss-2")
    assert set(found) == set(plan.runs)
    assert max(int(arrays["counts"].sum()) for arrays in found.values()) <= max(sizes)
    assert not unread
    assert results.arrays("histogram", "loss-1e-09") == ({}, {})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_damaged_file_is_told_and_made_again_alone(name, damage, plan, done):
    before = load_ledger(done.path)
    path = first(plan, done).path / name
    whole = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said = f"{name} is {'missing' if damage == 'deleted' else 'damaged'}"
    assert said in str(Status.of(done))
    stage, snapshot = name.removesuffix(".safetensors").split("-", 1)
    assert said in load_results(done.path).arrays(stage, snapshot)[1][path.parent.name]
    outcome = perform_all(plan, done)[0]
    assert outcome.stages == (stage,)
    assert outcome.notes == (f"run {outcome.run_id}: {said}; it is made again",)
    assert path.read_bytes() == whole
    assert Status.of(done).sound
    pd.testing.assert_frame_equal(load_ledger(done.path), before, check_exact=True)


def test_it_goes_on_after_a_kill(plan, store, monkeypatch):
    def killed(self, *_):
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(STAGES["losses"].function, "do", killed)
        with pytest.raises(Broken):
            perform_all(plan, store)
    assert (first(plan, store).path / FILES[0]).exists()
    outcome = perform_all(plan, store)[0]
    assert outcome.stages == ("predictions", "histogram", "measures", "by_sample", "losses", "reliability", "scores")
    assert not outcome.notes
    assert load_ledger(store.path)["largest_loss@2"].notna().all()


def test_one_that_fails_costs_its_own_columns_and_is_tried_again(plan, store, monkeypatch):
    def broken(self, work, snapshot, missing):
        raise ValueError(f"nothing at {snapshot}")

    with monkeypatch.context() as patch:
        patch.setattr(STAGES["histogram"].function, "do", broken)
        outcome = perform_all(plan, store)[0]
    assert outcome.state == "done"
    reasons = {"histogram": "ValueError: nothing at end", "histogram@2": "ValueError: nothing at loss-2"}
    assert outcome.missing == reasons
    assert load_ledger(store.path)[["largest_loss", "gradient_norm@2", "ece"]].notna().all(axis=None)
    assert perform_all(plan, store)[0].stages == ("histogram",)


def test_one_that_comes_later_or_is_defined_anew_trains_nothing(tmp_path, plan_of, store, monkeypatch):
    perform_all(plan_of(**{**OWN, "plugins": []}), store)
    before = load_ledger(store.path)
    (tmp_path / "later.py").write_text(PLUGIN)
    own = {**OWN, "plugins": ["later.py"]}
    try:
        plan = plan_of(**own)
        assert forecast(plan, store, 1).todo == tuple(plan.runs)
        left = first(plan, store).read_record().left(plan.wanted)
        keys = {"histogram": {"histogram": {"version": 1}}, "losses": {"losses": {"version": 1}}}
        assert left == dict.fromkeys(("end", "loss-2"), keys)
        assert {o.stages for o in perform_all(plan, store)} == {("histogram", "losses")}
        pd.testing.assert_frame_equal(load_ledger(store.path)[list(before)], before, check_exact=True)
        STAGES.register("losses", version=2)(STAGES["losses"].function)
        again = make_plan(load_source(str(tmp_path / "tiny.yaml")))
        assert {o.stages for o in perform_all(again, store)} == {("losses",)}
    finally:
        forget()


def test_it_is_of_the_studies_that_name_its_plugin(plan, plan_of):
    assert {"histogram", "losses"} <= set(plan.wanted.snapshots["end"])
    other = plan_of(**{**OWN, "plugins": []})
    assert set(other.wanted.snapshots["end"]) == {
        "training",
        "predictions",
        "measures",
        "by_sample",
        "reliability",
        "scores",
    }
    assert not any("small_weights" in column["name"] for column in other.catalog["columns"])


class Odd(Stage):
    """Whatever a test lets it be."""

    def columns(self, requested, snapshot):
        return [Column.of_value(self.column, self.name, "Odd")]

    def do(self, work, snapshot, missing):
        return self.found

    column, found = "odd", {}


@pytest.fixture
def odd(plan):
    """Register a stage with other attributes than usual, and plan a study that has it."""

    def make(plan_of, **changes):
        kind = type("Odd", (Odd,), {**changes, "__module__": STAGES["losses"].function.__module__})
        STAGES._entries["losses"] = Registration("stage", "losses", kind)
        return plan_of(**{**OWN, "measures": ["margin"]})

    return make


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"other": StageResult()}, "stage 'losses' found 'other', and should find losses"),
        ({"losses": StageResult({"values": {"odd": "much"}})}, "stage 'losses' found no number as 'odd', but 'much'"),
        ({"losses": StageResult({}, {"odd": np.array([object()])})}, "object"),
    ],
)
def test_what_cannot_be_stored_is_told_and_costs_nothing_else(found, reason, odd, plan_of, store):
    outcomes = perform_all(odd(plan_of, found=found), store)
    assert {o.state for o in outcomes} == {"done"}
    assert set(outcomes[0].missing) == {"losses", "losses@2"}
    assert reason in outcomes[0].missing["losses"]
    assert load_ledger(store.path)["small_weights@2"].notna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"needs": "weight"}, "stage 'losses' needs 'weight', which no stage before it gives"),
        ({"needs": "mine", "gives": "mine"}, "stage 'losses' needs 'mine', which no stage before it gives"),
        ({"column": "ece"}, "'ece' is a column of the stage 'losses', and one of the stage 'scores' at snapshot end"),
        ({"column": "seed"}, "'seed' is a column that every ledger has, and one of the stage 'losses' at snapshot end"),
        ({"column": "margin@2"}, "'margin@2' is a column of the stage 'losses', and one of the stage 'measures'"),
    ],
)
def test_one_that_does_not_fit_the_others_is_refused(changes, message, odd, plan_of):
    with pytest.raises(SpecError, match=message):
        odd(plan_of, **changes)
