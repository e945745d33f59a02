"""Whatever is in the files of a store, its readers answer in sentences and write nothing outside."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sharpscope.analysis.ledger import load_results
from sharpscope.store.folder import Store
from sharpscope.store.pairs import FILE as PAIRS
from sharpscope.store.run_folder import PREDICTIONS
from sharpscope.store.status import Status
from sharpscope.study.run.engine import run_study

from .conftest import Heard, as_before_seals, stored, told


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Return data with some of it changed, cut out, doubled, or put in."""
    first, second = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    middle = data[first:second]
    changed = [
        b"",
        middle * 2,
        middle[::-1],
        bytes(draw.randrange(256) for _ in range(draw.randrange(20))),
        draw.choice([b"{}", b"[]", b"null", b"NaN", b"1e999", b"9" * 5000, b"[" * 3000, b'"\\ud800"', b"\0", b"-0"]),
    ]
    return data[:first] + draw.choice(changed) + data[second:]


def with_other_value(tree: Any, draw: random.Random) -> Any:
    """Return a JSON tree with one value in it taken out or replaced."""
    if isinstance(tree, dict | list) and tree and draw.random() < 0.9:
        copy = tree.copy()
        key = draw.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if draw.random() < 0.2:
            del copy[key]
        else:
            copy[key] = with_other_value(copy[key], draw)
        return copy
    return draw.choice([None, {}, [], "", "../../x", 0, -1, 1e400, True, {"a": 1}, ["a"], "NaN", "x\0y"])


def surroundings(store: Store) -> dict[Path, int]:
    """All that lies beside the folder of a store."""
    around = store.path.parent
    return {p: p.stat().st_mtime_ns for p in around.rglob("*") if not p.is_relative_to(store.path) and p.is_file()}


def test_who_tells_of_a_study_reads_each_file_once(half_done, monkeypatch):
    _, half, _ = half_done
    opened: Counter[str] = Counter()

    def counting(path: Any, *rest: Any, open: Any = os.open, **settings: Any) -> int:
        opened[str(path)] += 1
        return open(path, *rest, **settings)

    monkeypatch.setattr(os, "open", counting)
    load_results(half.path)
    names = {Path(path).name for path in opened}
    assert names >= {"catalog.json", "run.json", PAIRS}
    # The pairs are up to date, and what is drawn of predictions stands in the records.
    assert PREDICTIONS not in names
    assert set(opened.values()) == {1}, opened


@pytest.mark.parametrize("cases", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_whatever_is_in_the_files_looking_at_a_study_ends_in_sentences(cases, half_done, tmp_path):
    _, half, _ = half_done
    store = Store(tmp_path / "around" / "out")
    shutil.copytree(half.path, store.path)
    names = stored(store.path)
    before = surroundings(store)
    for number in range(cases):
        draw = random.Random(f"look {cases} {number}")
        name = draw.choice(names)
        whole = (store.path / name).read_bytes()
        (store.path / name).write_bytes(mutated(whole, draw))
        told(lambda: Status.of(store).to_json())
        told(lambda: load_results(store.path))
        (store.path / name).write_bytes(whole)
    assert surroundings(store) == before
    assert stored(store.path) == names


@pytest.mark.parametrize("cases", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_whatever_is_in_the_files_from_before_seals_the_study_is_run(cases, here, half_done, tmp_path):
    plan, half, _ = half_done
    old = Store(tmp_path / "old")
    shutil.copytree(half.path, old.path)
    as_before_seals(old)
    names = [name for name in stored(old.path) if name.endswith(".json")]
    for number in range(cases):
        draw = random.Random(f"old {cases} {number}")
        store = Store(tmp_path / "around" / "out")
        shutil.copytree(old.path, store.path)
        before = surroundings(store)
        path = store.path / draw.choice(names)
        path.write_text(json.dumps(with_other_value(json.loads(path.read_bytes()), draw)))
        # A number or a checksum of the time before seals may be wrong; then it is one sentence, or made again.
        told(lambda store=store: run_study(plan, store, Heard(), executor="here"))
        told(lambda store=store: Status.of(store))
        told(lambda store=store: load_results(store.path))
        assert surroundings(store) == before
        shutil.rmtree(store.path)
