"""A study that takes a second, and the means to run it in this process or in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharpscope.analysis.ledger import load_ledger
from sharpscope.errors import SharpscopeError, one_line
from sharpscope.store.folder import Store
from sharpscope.store.pairs import FILE as PAIRS
from sharpscope.store.run_folder import CHECKPOINT
from sharpscope.store.upgrade import BEFORE_SEALS
from sharpscope.study.execution import execute
from sharpscope.study.executors import EXECUTORS
from sharpscope.study.planning.plan import Plan, make_plan
from sharpscope.study.run.engine import assignment_of, run_study
from sharpscope.study.source.study import load_source
from sharpscope.study.stages import train as training
from sharpscope.study.work.assignment import Advance, Outcome
from sharpscope.study.work.data_cache import DataCache

from .former import former_catalog, former_record

# What turns a document into that of schema 3, by its name.
FORMS = {"run.json": former_record, "catalog.json": former_catalog}
TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "train_size": 60},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 2, "batch_size": 32},
    "regimes": ["baseline", "sam"],
    "grid": {"seed": 2},
    "measures": ["relative_flatness", "gradient_norm"],
    "scores": ["ece", "generalization_gap", "prediction_disagreement"],
}
# The network of the tiny study, in a form that is trained alone.
ALONE = {"name": "mlp", "hidden": [8], "dropout": 0.1}


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny study with some sections changed; None takes one out."""

    def write(**changes: Any) -> Path:
        study = {key: value for key, value in {**TINY, **changes}.items() if value is not None}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write


@pytest.fixture
def plan_of(study_file: Callable[..., Path]) -> Callable[..., Plan]:
    """Plan the tiny study with some sections changed."""
    return lambda **changes: make_plan(load_source(str(study_file(**changes))))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return the store of a study of which nothing is done."""
    return Store(tmp_path / "out")


def perform_all(plan: Plan, store: Store) -> list[Outcome]:
    """Do all runs of a plan in this process, one after the other."""
    store.write_catalog(plan.catalog)
    cache = DataCache(plan.data_dir)
    return [execute(run_id, assignment_of(plan, store), cache) for run_id in plan.runs]


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``sharpscope`` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sharpscope", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(*arguments: object) -> tuple[int, str, str]:
    """Run ``sharpscope`` to its end; return its exit code and what it printed and complained of."""
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def above_permissions() -> bool:
    """Return whether this process may read and write whatever the permissions of files say, as root may."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return os.access(file.name, os.R_OK)


needs_permissions = pytest.mark.skipif(above_permissions(), reason="permissions do not hold for this process")


HALF_DONE = {
    **TINY,
    "model": ALONE,
    "training": {"epochs": 3, "batch_size": 16, "checkpoints_at_loss": [2.25], "check_loss_every": 1},
    "regimes": ["baseline"],
    "grid": {"seed": 3},
    "measures": ["relative_flatness"],
    "scores": ["ece", "prediction_disagreement"],
}


@dataclass
class Heard:
    """A listener that keeps what it is told."""

    notes: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    advances: list[Advance] = field(default_factory=list)

    def begin(self, total: int, kept: int) -> None:
        pass

    def started(self, run_id: str, label: str) -> None:
        pass

    def advanced(self, advance: Advance, label: str) -> None:
        self.advances.append(advance)

    def ended(self, outcome: Outcome, label: str) -> None:
        self.outcomes.append(outcome)
        self.notes += outcome.notes

    def note(self, text: str) -> None:
        self.notes.append(text)


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Register the executor ``here`` for a block."""
    cache = DataCache(None)

    @EXECUTORS.register()
    def here(jobs: Any, assignment: Any, *, workers: int | None = None) -> Iterator[str | Outcome]:
        """In this process, with an assignment that has gone the way to another one."""
        assignment = pickle.loads(pickle.dumps(assignment))
        for job in jobs:
            for run_id in job:
                yield run_id
                yield execute(run_id, assignment, cache)

    try:
        yield
    finally:
        EXECUTORS._entries.pop("here")


@pytest.fixture
def here() -> Iterator[None]:
    """An executor in this process."""
    with in_this_process():
        yield


class Broken(BaseException):
    """Ends a process in a test, as a signal would."""


@pytest.fixture(scope="session")
def half_done(tmp_path_factory) -> tuple[Plan, Store, str]:
    """A study whose last run was broken off in its second epoch, and the ledger that it must have in the end."""
    folder = tmp_path_factory.mktemp("half-done")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(HALF_DONE))
    plan = make_plan(load_source(str(folder / "tiny.yaml")))
    whole, half = Store(folder / "whole"), Store(folder / "half")
    last = list(plan.runs)[-1]

    def breaking(*args: Any, train: Any = training.train, **settings: Any) -> Any:
        def see(epoch: Any) -> None:
            if settings["checkpoint"].parent.name == last and epoch.epoch == 2:
                raise Broken

        return train(*args, **{**settings, "on_epoch": see})

    with pytest.MonkeyPatch.context() as patch, in_this_process():
        run_study(plan, whole, Heard(), executor="here")
        patch.setattr(training, "train", breaking)
        patch.setattr(training, "CHECKPOINT_PAUSE", 0.0)
        with pytest.raises(Broken):
            run_study(plan, half, Heard(), executor="here")
    assert (half.run(last).path / CHECKPOINT).is_file()
    shutil.copy(whole.path / PAIRS, half.path / PAIRS)
    return plan, half, ledger_of(whole)


def ledger_of(store: Store) -> str:
    return load_ledger(store.path).to_csv()


def stored(folder: Path) -> list[str]:
    """The files of a store that are read back."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return sorted(str(path.relative_to(folder)) for path in paths)


def told(look: Any) -> str:
    """What someone is told who looks at a store, be it one sentence of an error."""
    try:
        return str(look())
    except SharpscopeError as error:
        return one_line(error)


def as_before_seals(store: Store) -> None:
    """Turn a folder into one of the time before seals."""
    for path in (*store.path.glob("*.json"), *store.path.glob("runs/*/run.json")):
        content = json.loads(path.read_bytes())
        del content["seal"]
        content = FORMS.get(path.name, dict)(content)
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
