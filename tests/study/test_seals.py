"""One flipped bit in any stored file: it is noticed, its values are not used, and the next run makes all as it was."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from sharpscope.analysis.ledger import load_results
from sharpscope.store.folder import Store
from sharpscope.store.pairs import FILE as PAIRS
from sharpscope.store.run_folder import CHECKPOINT
from sharpscope.store.status import Status
from sharpscope.store.upgrade import BEFORE_SEALS
from sharpscope.study.planning.plan import Plan
from sharpscope.study.run.engine import run_study

from .conftest import Heard, as_before_seals, ledger_of, needs_permissions, stored, told
from .former import former_record

# What is read by nobody before the next run.
FOR_THE_RUN = (CHECKPOINT,)
# What a report does not read, and so finds only where the size has changed; or where a section reads it, which tells.
FOR_STATUS = ("weights", "history", "trained", "inits/", "predictions", "by_sample")


def candidates(plan: Plan, half: Store, which: str) -> list[str]:
    """The files of a kind, without initial weights of a run that has no record: its training writes those anew."""
    records = (half.run(run_id).read_record() for run_id in plan.runs)
    vouched = {record.init for record in records if record is not None}
    return [name for name in stored(half.path) if kind(name) == which and (which != "inits/" or name in vouched)]


def kind(name: str) -> str:
    return "inits/" if name.startswith("inits/") else name.rpartition("/")[2]


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))


def see_and_mend(plan: Plan, store: Store, expected: str, name: str) -> None:
    """Look at a store in which one file is damaged, and run the study again."""
    looks = {
        "status": told(lambda: Status.of(store)),
        "report": told(lambda: "; ".join(load_results(store.path).notes)),
    }
    heard = Heard()
    summary = run_study(plan, store, heard, executor="here")
    looks["run"] = "; ".join(heard.notes)
    named = kind(name)
    if named in FOR_THE_RUN:
        assert "this run is trained from the start" in looks["run"], looks
    else:
        assert named in looks["status"], looks
    if not named.startswith((*FOR_THE_RUN, *FOR_STATUS)):
        assert named in looks["report"], looks
    assert (summary.done, summary.whole) == (3, True)
    assert ledger_of(store) == expected
    results = load_results(store.path)
    assert not results.notes
    assert results.first_primary == results.study["primary"]
    mended = Status.of(store)
    assert mended.sound, str(mended)


KINDS = [
    *("catalog.json", "study.yaml", "primary.json", "command.json", PAIRS, "inits/", "run.json", "trained.json"),
    *("weights.safetensors", "weights-at-2.25.safetensors", "predictions.safetensors", "history.parquet", CHECKPOINT),
    *("by_sample-test_accuracy-end.safetensors", "by_sample-test_loss-end.safetensors"),
]


def test_the_kinds_of_files_are_all(half_done):
    _, half, _ = half_done
    assert {kind(name) for name in stored(half.path)} == set(KINDS)


@pytest.mark.parametrize("flips", [1, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", KINDS)
def test_a_flipped_bit_is_noticed_and_the_next_run_makes_all_as_it_was(which, flips, here, half_done, tmp_path):
    plan, half, expected = half_done
    names = candidates(plan, half, which)
    for number in range(flips):
        draw = random.Random(f"{which} {flips} {number}")
        name = draw.choice(names)
        store = Store(tmp_path / str(number))
        shutil.copytree(half.path, store.path)
        flip(store.path / name, draw)
        see_and_mend(plan, store, expected, name)
        shutil.rmtree(store.path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("of the user's")


def as_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("absent"))


def as_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not what it was")


def as_nothing(path: Path) -> None:
    path.write_bytes(b"")


def as_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_secret(path: Path) -> None:
    path.chmod(0)


# One of each way in which they are written; the others are slow in number only.
SOME = ("catalog.json", "inits/", "run.json", CHECKPOINT)


@pytest.mark.parametrize("which", [w if w in SOME else pytest.param(w, marks=pytest.mark.slow) for w in KINDS])
@pytest.mark.parametrize(
    "damage",
    [
        as_folder,
        *(pytest.param(d, marks=pytest.mark.slow) for d in (as_text, as_nothing, as_half)),
        pytest.param(as_secret, marks=needs_permissions),
    ],
)
def test_what_stands_in_the_place_of_a_file_stops_nothing(damage, which, here, half_done, tmp_path):
    plan, half, expected = half_done
    store = Store(tmp_path / "out")
    shutil.copytree(half.path, store.path)
    name = candidates(plan, half, which)[-1]
    damage(store.path / name)
    see_and_mend(plan, store, expected, name)
    aside = list(store.path.rglob("*.aside-*/something"))
    assert len(aside) == (damage is as_folder)


@pytest.mark.slow
@pytest.mark.parametrize("which", KINDS)
def test_a_link_to_nothing_is_a_file_that_is_missing(which, here, half_done, tmp_path):
    plan, half, expected = half_done
    store = Store(tmp_path / "out")
    shutil.copytree(half.path, store.path)
    name = candidates(plan, half, which)[-1]
    as_link_to_nothing(store.path / name)
    told(lambda: Status.of(store))
    told(lambda: load_results(store.path))
    assert run_study(plan, store, Heard(), executor="here").whole
    assert ledger_of(store) == expected
    assert not (store.path / name).with_name("absent").exists()


def test_a_folder_from_before_seals_is_sealed_once_and_nothing_in_it_is_lost(here, half_done, tmp_path):
    plan, half, expected = half_done
    store = Store(tmp_path / "out")
    shutil.copytree(half.path, store.path)
    as_before_seals(store)
    for look in (Status.of, lambda store: load_results(store.path)):
        assert "run the study again with this --out" in told(partial(look, store))
    weights = {path: path.stat().st_mtime_ns for path in store.path.glob("runs/*/weights.safetensors")}
    heard = Heard()
    summary = run_study(plan, store, heard, executor="here")
    assert heard.notes == ["2 runs were recorded before files had seals: taken as found, and sealed now"]
    # What a report draws of their predictions is new.
    assert (summary.kept, summary.done) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert ledger_of(store) == expected
    assert Status.of(store).sound


def test_a_file_that_has_lost_its_seal_is_not_taken_for_one_from_before_seals(here, half_done, tmp_path):
    plan, half, expected = half_done
    store = Store(tmp_path / "out")
    shutil.copytree(half.path, store.path)
    path = store.run(next(iter(plan.runs))).path / "run.json"
    content = json.loads(path.read_bytes())
    del content["seal"]
    content = former_record(content)
    content["measures"]["relative_flatness"]["value"] += 1
    path.write_text(json.dumps({**content, "schema": BEFORE_SEALS}))
    see_and_mend(plan, store, expected, "run.json")
