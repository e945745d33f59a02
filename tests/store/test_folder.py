"""The folder of a study: who uses it, and what is cleared and refused."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sharpscope.errors import SharpscopeError
from sharpscope.files import TEMPORARY
from sharpscope.store.documents import document
from sharpscope.store.files import Damaged
from sharpscope.store.folder import Store
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.upgrade import SCHEMA

CATALOG = {"schema": SCHEMA, "study": {"name": "a", "primary": []}}
# Long enough for a thread that is not kept waiting.
MOMENT = 0.3


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "out")


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path):
    store = Store(tmp_path)
    folder = store.run("0123")
    folder.path.mkdir(parents=True)
    left = [tmp_path / ".study.yaml.1-a.tmp", folder.path / ".run.json.1-a.tmp"]
    for path in left:
        path.write_text("half")
    with store.in_use(CATALOG):
        assert not left[0].exists()
        with folder.lease() as held:
            assert held
            assert not left[1].exists()
            assert folder.busy
    assert not folder.busy


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


def test_a_folder_that_holds_no_study_is_told(tmp_path):
    with pytest.raises(SharpscopeError, match="there is no folder"):
        Store.existing(tmp_path / "absent")
    with pytest.raises(SharpscopeError, match=r"has no catalog.json"):
        Store.existing(tmp_path)


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


def test_reports_take_turns_from_reading_on(store):
    store.path.mkdir()
    with store.in_use(CATALOG):
        pass
    order = []

    def second() -> None:
        with store.reporting():
            order.append("second")

    with store.reporting():
        other = threading.Thread(target=second)
        other.start()
        other.join(MOMENT)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_a_run_that_finds_itself_alone_leaves_what_a_report_is_writing(store):
    with store.in_use(CATALOG):
        pass
    (store.path / "tables").mkdir()
    live = [store.path / "tables" / f".a.csv.1-a{TEMPORARY}", store.path / f".report.html.1-a{TEMPORARY}"]

    def alone() -> None:
        with store.in_use(CATALOG):
            pass

    with store.reporting():
        for path in live:
            path.touch()
        other = threading.Thread(target=alone)
        other.start()
        other.join(MOMENT)
        assert all(path.exists() for path in live)
    other.join()
    assert not any(path.exists() for path in live)


def test_a_report_leaves_what_a_run_is_writing(store):
    with store.in_use(CATALOG):
        (store.path / "inits").mkdir()
        live = store.path / "inits" / f".a.1-a{TEMPORARY}"
        live.touch()
        with store.reporting():
            assert live.exists()
