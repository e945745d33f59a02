"""A study that takes a second, and the means to run it in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharpscope.study.bench import Bench
from sharpscope.study.engine import assignment_of
from sharpscope.study.plan import Plan, make_plan
from sharpscope.study.source import load_source
from sharpscope.study.stages import Outcome, perform
from sharpscope.study.store import Store

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


def perform_all(plan: Plan, store: Store) -> list[Outcome]:
    """Do all runs of a plan in this process, one after the other."""
    store.write_catalog(plan.catalog)
    bench = Bench(plan.data_dir)
    return [perform(run_id, assignment_of(plan, store), bench) for run_id in plan.runs]


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``sharpscope`` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sharpscope.cli", *map(str, arguments)],
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
