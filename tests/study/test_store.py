from __future__ import annotations

import errno
import json
import math
import os

import numpy as np
import pytest

from sharpscope.errors import SharpscopeError
from sharpscope.files import write_atomic
from sharpscope.study.files import locked, presence
from sharpscope.study.record import SCHEMA, Record, Wish, Wishes, document
from sharpscope.study.store import Damaged, RunFolder, Store

CATALOG = {"schema": SCHEMA, "study": {"name": "a", "primary": []}}


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_leaves_what_stood_there(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_lock_keeps_others_out_until_its_block_ends(tmp_path):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock") as second:
        assert first
        assert not second
    with locked(tmp_path / "lock") as third:
        assert third


def test_only_the_first_of_several_is_alone(tmp_path):
    alone = []
    with (
        presence(tmp_path / "lock", lambda: alone.append(1)),
        presence(tmp_path / "lock", lambda: alone.append(2)),
    ):
        pass
    assert alone == [1]


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path):
    store = Store(tmp_path)
    folder = store.run("0123")
    folder.path.mkdir(parents=True)
    left = [tmp_path / ".study.yaml.1-a.tmp", folder.path / ".run.json.1-a.tmp"]
    for path in left:
        path.write_text("half")
    with store.in_use(CATALOG):
        assert not left[0].exists()
        with folder.claim() as held:
            assert held
            assert not left[1].exists()
            assert folder.busy
    assert not folder.busy


def test_a_record_reads_back_to_the_last_bit_and_is_valid_json():
    values = {"a": 0.1 + 0.2, "b": math.nan, "c": math.inf, "d": -math.inf, "e": 5e-324}
    record = Record("r", "done", training=values, coordinates={"regime": "NaN"})
    text = record.to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = Record.from_json(text, "r")
    np.testing.assert_equal(again.training, values)
    assert again.coordinates == {"regime": "NaN"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t[: len(t) // 2],
        lambda t: b"",
        lambda t: b"[]",
        lambda t: t.replace(b'"r"', b'"s"'),
        lambda t: b"\xff",
        lambda t: t.replace(b'"measures": {}', b'"measures": null'),
        lambda t: t.replace(b'"measures": {}', b'"measures": {"m": {"value": 1.0}}'),
        lambda t: t.replace(b'"scores": {}', b'"scores": {"s": {"value": null}}'),
        lambda t: t.replace(b'"state": "done"', b'"state": "over"'),
    ],
)
def test_a_torn_record_is_noticed(damage, tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.write_record(Record("r", "done"))
    path = folder.path / "run.json"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    with pytest.raises(Damaged):
        folder.read_record()


def test_damaged_arrays_are_noticed(tmp_path):
    folder = RunFolder(tmp_path / "r")
    seal = folder.write_arrays("x.safetensors", {"a": np.arange(6.0).reshape(2, 3).T})
    np.testing.assert_array_equal(
        folder.read_arrays("x.safetensors", seal)["a"], np.arange(6.0).reshape(2, 3).T, strict=True
    )
    path = folder.path / "x.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x00")
    with pytest.raises(Damaged, match=r"x.safetensors is damaged"):
        folder.read_arrays("x.safetensors", seal)
    path.write_bytes(whole[:-1])
    with pytest.raises(Damaged, match=r"x.safetensors is damaged"):
        folder.read_arrays("x.safetensors", seal)
    path.write_bytes(whole)
    with pytest.raises(Damaged, match=r"x.safetensors has no seal"):
        folder.read_arrays("x.safetensors", None)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        folder.read_arrays("x.safetensors", seal)


def test_a_value_of_other_options_or_another_version_is_no_answer():
    wish = Wish("ece", {"bins": 15, "edges": (0, 1)}, version=2)
    stored = {**wish.stamp("score"), "value": 0.1}
    assert wish.answered_by(stored, "score")
    assert wish.answered_by(json.loads(json.dumps(stored)), "score")
    assert not wish.answered_by({**stored, "version": 1}, "score")
    assert not wish.answered_by({**stored, "options": {"bins": 10}}, "score")
    assert not wish.answered_by({**stored, "score": "nll"}, "score")
    assert not wish.answered_by(None, "score")


def test_what_is_left_to_do_of_a_run():
    wishes = Wishes(measures={"m": Wish("margin")}, scores={"s": Wish("ece")}, corruptions={"fog": 1})
    record = Record("r", "done", training={"train_loss": 1.0}, predictions={"corruptions": {"fog": 1}})
    assert record.missing(wishes) == ["m", "s"]
    record.measures["m"] = {**Wish("margin").stamp("measure"), "value": 1.0}
    record.scores["s"] = {**Wish("ece").stamp("score"), "value": 1.0}
    assert record.settled(wishes)
    record.predictions = {"corruptions": {"fog": 1, "snow": 1}}
    assert record.settled(wishes)
    record.predictions = {"corruptions": {"fog": 2}}
    assert not record.settled(wishes)
    assert not Record("r", "failed").settled(Wishes())
    assert Record("r", "diverged").settled(wishes)


def test_a_folder_that_holds_no_study_is_told(tmp_path):
    with pytest.raises(SharpscopeError, match="there is no folder"):
        Store.existing(tmp_path / "absent")
    with pytest.raises(SharpscopeError, match=r"has no catalog.json"):
        Store.existing(tmp_path)


def test_wishes_read_back_from_the_catalog(plan_of):
    plan = plan_of(training={"epochs": 1, "checkpoints_at_loss": [1.0], "check_loss_every": 2}, scores=None)
    assert Wishes.from_catalog(json.loads(json.dumps(plan.catalog))) == plan.wishes


@pytest.mark.parametrize("content", [{}, {"schema": 1, "grid": []}])
def test_a_catalog_of_another_version_is_one_sentence(content, tmp_path):
    store = Store(tmp_path)
    (tmp_path / "catalog.json").write_bytes(document(content))
    with pytest.raises(SharpscopeError, match=r"another version of sharpscope; run the study again with this --out"):
        store.read_catalog()


def test_a_folder_in_use_by_another_study_is_refused(tmp_path):
    store = Store(tmp_path)
    other = {**CATALOG, "study": {"name": "b", "primary": []}}
    with store.in_use(CATALOG), store.in_use(CATALOG):
        with pytest.raises(SharpscopeError, match="at work on another study"), store.in_use(other):
            pass
        assert store.read_study()["name"] == "a"
    with store.in_use(other):
        assert store.read_study()["name"] == "b"


def test_facts_of_a_process_stand_as_long_as_something_of_it_is_left():
    record = Record("r")
    old, new = (record.note_maker({"device": device}) for device in ("cpu", "cuda"))
    assert record.note_maker({"device": "cpu"}) == old
    record.made_by["training"] = old
    record.scores["s"] = {"value": 1.0, "made_by": new}
    record.forget_makers()
    assert record.provenance == {old: {"device": "cpu"}, new: {"device": "cuda"}}
    del record.scores["s"]
    record.forget_makers()
    assert list(record.provenance) == [old]
