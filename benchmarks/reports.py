"""What a report costs, by the number of runs: the whole command, in a process of its own, and the size of its page.

The runs of one short study stand for those of many settings, each with its numbers a little moved.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import table
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.folder import Store
from sharpscope.store.record import Record
from sharpscope.study.planning.plan import Plan, make_plan
from sharpscope.study.run.engine import run_study
from sharpscope.study.run.progress import watching
from sharpscope.study.source.study import load_source

SHORT = ("model={name: mlp}", "training.epochs=4", "training.checkpoints_at_loss=[1.5]")
SIZES = {
    60: "{seed: 10}",
    240: "{seed: 10, training.lr: [0.05, 0.04, 0.03, 0.02]}",
    960: "{seed: 10, training.lr: [0.05, 0.04, 0.03, 0.02], training.batch_size: [64, 48, 32, 16]}",
}
_MOVED = ("value", "values")  # parts of a result that hold what was found


def planned(grid: str) -> Plan:
    """Return the plan of the preset ``digits`` with short trainings of a small network."""
    return make_plan(load_source("digits", [*SHORT, f"grid={grid}"]))


def spread(trained: Store, plan: Plan, out: Path) -> Store:
    """Write the study of a plan: each run is that of its regime and seed, with numbers moved by about 3%."""
    store = Store(out)
    out.mkdir()
    rng = np.random.default_rng(NumpyStream(0, "benchmark", "reports").seed)
    with store.in_use(plan.catalog):
        known = {(p["regime"], p["seed"]): trained.run(p["run_id"]) for p in trained.read_catalog()["grid"]}
        for point in plan.points:
            key = {"regime": point.run.regime.label, "seed": point.run.seed}
            old, new = known[key["regime"], key["seed"]], store.run(point.run.id)
            record = old.read_record()
            if record is None:
                raise FileNotFoundError(old.path)
            new.path.mkdir(parents=True)
            for name in record.files:
                (new.path / name).hardlink_to(old.path / name)
            factor = float(rng.normal(1, 0.03))
            new.write_record(_moved(record, point.run.id, {**key, **point.coordinates}, factor))
    return store


def _moved(record: Record, run_id: str, coordinates: dict[str, Any], factor: float) -> Record:
    snapshots = {
        name: {stage: {key: _entry(entry, factor) for key, entry in found.items()} for stage, found in stages.items()}
        for name, stages in record.snapshots.items()
    }
    return replace(record, run_id=run_id, coordinates=coordinates, snapshots=snapshots, init="")


def _entry(entry: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {part: _times(value, factor) if part in _MOVED else value for part, value in entry.items()}


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, dict):
        return {key: _times(part, factor) for key, part in value.items()}
    # Shares stay shares.
    return value**factor if isinstance(value, float) and 0 < value < 1 else value


def report(store: Store) -> tuple[float, float]:
    """Return the processor seconds of ``sharpscope report``, and the megabytes of the page."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sharpscope", "report", str(store.path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, (store.path / "report.html").stat().st_size / 1e6


def main() -> None:
    """Print the table; the second report of a folder counts, whose pairs of runs are known."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        trained = Store(Path(directory) / "trained")
        with watching() as watcher:
            run_study(planned(SIZES[60]), trained, watcher, workers=1)
        for runs, grid in SIZES.items():
            store = spread(trained, planned(grid), Path(directory) / str(runs))
            report(store)
            seconds, size = report(store)
            rows.append([str(runs), f"{seconds:.0f} s", f"{size:.1f} MB"])
    table("A report of the preset digits, with settings multiplied", ["runs", "processor time", "page"], rows)
