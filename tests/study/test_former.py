"""A folder that a former version made is read, completed and added to; ``former_study`` holds one as it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.analysis.section import SECTIONS, Evidence
from sharpscope.errors import SharpscopeError
from sharpscope.store.documents import content_of, document
from sharpscope.store.files import Damaged
from sharpscope.store.folder import Store
from sharpscope.store.status import Status
from sharpscope.store.upgrade import FORMER, SCHEMA, upgraded_catalog, upgraded_record
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.run.engine import run_study
from sharpscope.study.source.study import load_source

from .conftest import Heard, perform_all
from .former import former_catalog, former_record

KEPT = Path(__file__).with_name("former_study")
RECORDS = [*KEPT.glob("runs/*/run.json"), *KEPT.glob("runs/*/trained.json")]


@pytest.fixture
def store(tmp_path):
    shutil.copytree(KEPT, tmp_path / "out")
    return Store(tmp_path / "out")


def plan_of(store, *changes):
    return make_plan(load_source(str(store.path / "study.yaml"), changes))


def contents(store):
    return {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file() and ".lock" not in path.name}


def test_the_kept_folder_is_of_the_former_schema():
    found = [content_of(path.read_bytes()) for path in (KEPT / "catalog.json", *RECORDS)]
    assert {content["schema"] for content in found} == {FORMER}
    assert {content["state"] for content in found if "state" in content} == {"done", "diverged", "failed"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_of_a_record_is_lost(path):
    content = content_of(path.read_bytes())
    present = upgraded_record(content)
    assert present["schema"] == SCHEMA
    assert former_record(present) == content
    assert upgraded_record(present) == present


def test_the_catalog_says_what_a_plan_of_now_says(store):
    content = content_of((KEPT / "catalog.json").read_bytes())
    present = upgraded_catalog(content)
    assert former_catalog(present) == content
    now = json.loads(json.dumps(plan_of(store).catalog))
    # Which it did not have.
    assert all(now["wanted"]["end"].pop(stage) for stage in ("by_sample", "plane", "reliability"))
    for key in ("wanted", "columns", "pair_scores", "grid"):
        assert present[key] == now[key]


def test_it_is_looked_at_as_it_is(store):
    before = contents(store)
    assert load_ledger(store.path).to_csv(index=False) == (store.path / "results.csv").read_text()
    status = Status.of(store)
    assert status.sound
    assert status.counts == {"done": 2, "diverged": 2}
    assert not load_results(store.path).notes
    assert contents(store) == before


def test_nothing_is_left_to_do_in_it_but_what_is_new(store, here):
    before = contents(store)
    assert SECTIONS["reliability"](Evidence(load_results(store.path))).page is None
    heard = Heard()
    summary = run_study(plan_of(store), store, heard, executor="here")
    assert (summary.kept, summary.whole) == (2, True)
    assert {outcome.stages for outcome in heard.outcomes} == {("plane", "by_sample", "reliability")}
    changed = {path.name for path, data in contents(store).items() if path in before and before[path] != data}
    assert changed <= {"catalog.json", "primary.json", "command.json", "study.yaml", "pairs.parquet", "run.json"}
    results = load_results(store.path)
    assert results.ledger.to_csv(index=False) == (store.path / "results.csv").read_text()
    assert set(results.reliability["run_id"]) == set(results.ledger.query("state == 'done'")["run_id"])


def test_what_is_added_to_it_is_written_in_the_present_form(store):
    before = load_ledger(store.path)
    plan = plan_of(store, "measures.parameter_norm={}")
    outcomes = perform_all(plan, store)
    assert [o.stages for o in outcomes] == [("measures", "plane", "by_sample", "reliability"), ()] * 2
    after = load_ledger(store.path)
    assert after[list(before)].equals(before)
    for index, outcome in enumerate(outcomes[::2]):
        folder = store.run(outcome.run_id)
        assert content_of((folder.path / "run.json").read_bytes())["schema"] == SCHEMA
        squares = [
            (tensor.astype(float) ** 2).sum() for tensor in load_file(folder.path / "weights.safetensors").values()
        ]
        assert after["parameter_norm"][2 * index] == pytest.approx(sum(squares) ** 0.5)
    assert after["parameter_norm@0.66"].notna().sum() == 2


@pytest.mark.parametrize("name", ["predictions.safetensors", "weights.safetensors", "weights-at-0.66.safetensors"])
def test_what_is_damaged_in_it_is_made_again(name, store):
    plan = plan_of(store)
    path = store.run(next(iter(plan.runs))).path / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 64]))
    assert f"{name} is damaged" in perform_all(plan, store)[0].notes[0]
    assert Status.of(store).sound
    assert perform_all(plan, store)[0].stages == ()


@pytest.mark.parametrize("key", ["measures", "training", "at_loss", "made_by", "files", "scores", "predictions"])
@pytest.mark.parametrize("value", [None, 3, {"a": None}, []])
def test_a_record_that_is_not_what_its_schema_says_is_damaged(key, value, store):
    folder = store.run(next(iter(plan_of(store).runs)))
    content = content_of((folder.path / "run.json").read_bytes())
    if value == {"a": None}:
        value = {"predictions": {"corruptions": 1}, "made_by": {"training": {}}}.get(key, value)
    (folder.path / "run.json").write_bytes(document({**content, key: value}))
    with pytest.raises(Damaged, match=r"run.json is damaged"):
        folder.read_record()


@pytest.mark.parametrize("key", ["measures", "levels", "at_loss", "corruptions", "training"])
def test_a_catalog_that_is_not_what_its_schema_says_is_one_sentence(key, store):
    content = content_of((store.path / "catalog.json").read_bytes())
    (store.path / "catalog.json").write_bytes(document({**content, key: 3}))
    with pytest.raises(SharpscopeError, match=r"catalog.json is damaged; run the study again with this --out"):
        store.read_catalog()
