"""One flipped bit in any stored file: it is noticed, its values are not used, and the next run makes all as it was."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.errors import SharpscopeError
from sharpscope.seals import BrokenSeal, check_sealed, sealed_safetensors
from sharpscope.study import stages
from sharpscope.study.assignment import Outcome
from sharpscope.study.bench import Bench
from sharpscope.study.engine import run_study
from sharpscope.study.executors import EXECUTORS
from sharpscope.study.pairs import FILE as PAIRS
from sharpscope.study.plan import Plan, make_plan
from sharpscope.study.reasons import one_line
from sharpscope.study.record import BEFORE_SEALS, document
from sharpscope.study.source import load_source
from sharpscope.study.stages import perform
from sharpscope.study.status import Status
from sharpscope.study.store import CHECKPOINT, Store, to_parquet

from .conftest import TINY, needs_permissions

STUDY = {
    **TINY,
    "training": {"epochs": 3, "batch_size": 16, "checkpoints_at_loss": [2.25], "check_loss_every": 1},
    "regimes": ["baseline"],
    "grid": {"seed": 3},
    "measures": ["relative_flatness"],
    "scores": ["ece", "prediction_disagreement"],
}
# What is read by nobody before the next run.
FOR_THE_RUN = (CHECKPOINT,)
# What a report does not read, and so finds only where the size has changed.
FOR_STATUS = ("weights", "history", "trained", "inits/")


@dataclass
class Heard:
    """A watcher that keeps what it is told."""

    notes: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def begin(self, total: int, kept: int) -> None:
        pass

    def started(self, run_id: str, label: str) -> None:
        pass

    def ended(self, outcome: Outcome, label: str) -> None:
        self.outcomes.append(outcome)
        self.notes += outcome.notes

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """An executor in this process, which writes a checkpoint after each epoch."""
    bench = Bench(None)

    @EXECUTORS.register()
    def here(jobs: Any, assignment: Any, *, workers: int | None = None) -> Iterator[str | Outcome]:
        """In this process."""
        for job in jobs:
            for run_id in job:
                yield run_id
                yield perform(run_id, assignment, bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "CHECKPOINT_PAUSE", 0.0)
        yield
    EXECUTORS._entries.pop("here")


class Broken(BaseException):
    """Ends a process in a test, as a signal would."""


@pytest.fixture(scope="module")
def half_done(here, tmp_path_factory) -> tuple[Plan, Store, str]:
    """A study whose last run was broken off in its second epoch, and the ledger that it must have in the end."""
    folder = tmp_path_factory.mktemp("half-done")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    plan = make_plan(load_source(str(folder / "tiny.yaml")))
    whole, half = Store(folder / "whole"), Store(folder / "half")
    run_study(plan, whole, Heard(), executor="here")
    last = list(plan.runs)[-1]

    def breaking(*args: Any, train: Any = stages.train, **settings: Any) -> Any:
        def see(epoch: Any) -> None:
            if settings["checkpoint"].parent.name == last and epoch.epoch == 2:
                raise Broken

        return train(*args, **settings, on_epoch=see)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "train", breaking)
        with pytest.raises(Broken):
            run_study(plan, half, Heard(), executor="here")
    assert (half.run(last).path / CHECKPOINT).is_file()
    shutil.copy(whole.path / PAIRS, half.path / PAIRS)
    return plan, half, ledger_of(whole)


def ledger_of(store: Store) -> str:
    return load_ledger(store.path).to_csv()


def stored(folder: Path) -> list[str]:
    """The files of a store that are read back."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return sorted(str(path.relative_to(folder)) for path in paths)


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


def told(look: Any) -> str:
    """What someone is told who looks at a store, be it one sentence of an error."""
    try:
        return str(look())
    except SharpscopeError as error:
        return one_line(error)


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
]


def test_the_kinds_of_files_are_all(half_done):
    _, half, _ = half_done
    assert {kind(name) for name in stored(half.path)} == set(KINDS)


@pytest.mark.parametrize("flips", [1, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", KINDS)
def test_a_flipped_bit_is_noticed_and_the_next_run_makes_all_as_it_was(which, flips, half_done, tmp_path):
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
def test_what_stands_in_the_place_of_a_file_stops_nothing(damage, which, half_done, tmp_path):
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
def test_a_link_to_nothing_is_a_file_that_is_missing(which, half_done, tmp_path):
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


@pytest.mark.parametrize(
    "content",
    [
        document({"schema": 3, "text": 'a "seal": "00000000000000000000000000000000" in a text', "value": 0.1}),
        sealed_safetensors(
            b"\x40\0\0\0\0\0\0\0" + b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'.ljust(64) + b"abc"
        ),
        to_parquet({"value": [1.0, 2.0]}, seal=True),
    ],
    ids=["json", "safetensors", "parquet"],
)
def test_a_seal_covers_every_bit(content):
    check_sealed(content)
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            with pytest.raises(BrokenSeal):
                check_sealed(bytes(damaged))
    for length in range(len(content)):
        with pytest.raises(BrokenSeal):
            check_sealed(content[:length])


def as_before_seals(store: Store) -> None:
    """Turn a folder into one of the time before seals."""
    for path in (*store.path.glob("*.json"), *store.path.glob("runs/*/run.json")):
        content = json.loads(path.read_bytes())
        del content["seal"]
        if "schema" in content:
            content["schema"] = BEFORE_SEALS
        if path.name in ("primary.json", "command.json"):
            (content,) = content.values()
        path.write_text(json.dumps(content, indent=1))
    for path in (*store.path.glob("runs/*/trained.json"), *store.path.glob(f"runs/*/{CHECKPOINT}")):
        path.unlink()
    for path in store.path.glob("inits/*"):
        text = path.read_bytes()
        length = int.from_bytes(text[:8], "little")
        header = {k: v for k, v in json.loads(text[8 : 8 + length]).items() if k != "__metadata__"}
        head = json.dumps(header).encode()
        path.write_bytes(len(head).to_bytes(8, "little") + head + text[8 + length :])


def test_a_folder_from_before_seals_is_sealed_once_and_nothing_in_it_is_lost(half_done, tmp_path):
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
    assert (summary.kept, summary.done) == (2, 3)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert ledger_of(store) == expected
    assert Status.of(store).sound


def test_a_file_that_has_lost_its_seal_is_not_taken_for_one_from_before_seals(half_done, tmp_path):
    plan, half, expected = half_done
    store = Store(tmp_path / "out")
    shutil.copytree(half.path, store.path)
    path = store.run(next(iter(plan.runs))).path / "run.json"
    content = json.loads(path.read_bytes())
    del content["seal"]
    content["measures"]["relative_flatness"]["value"] += 1
    path.write_text(json.dumps({**content, "schema": BEFORE_SEALS}))
    see_and_mend(plan, store, expected, "run.json")


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
def test_whatever_is_in_the_files_from_before_seals_the_study_is_run(cases, half_done, tmp_path):
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
