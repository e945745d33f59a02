"""What happens when processes die, race and are interrupted: nothing is lost, repeated or torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sharpscope.analysis.ledger import load_ledger, write_ledger
from sharpscope.cli import run_command
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source
from sharpscope.study.stages import train
from sharpscope.training.checkpoint import read_tree

from .conftest import ALONE, TINY, finish, perform_all, start

# Long enough that a kill falls between runs and within them, short enough to wait for.
SLOWER = {
    "model": ALONE,
    "training": {"epochs": 40, "batch_size": 8, "checkpoints_at_loss": [1.0], "check_loss_every": 1},
    "regimes": ["baseline", "sam"],
    "plugins": ["eager.py"],
    "sections": [],
}
RUNS = 4
EAGER = """
from sharpscope.study.stages import train

train.CHECKPOINT_PAUSE = 0.0
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, bytes]:
    """The slower study and the results of doing it in one go, in this process."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    study = folder / "slower.yaml"
    (folder / "eager.py").write_text(EAGER)
    study.write_text(yaml.safe_dump({**TINY, **SLOWER, "name": "slower"}))
    store = Store(folder / "out")
    with pytest.MonkeyPatch.context() as patch:
        # The plugin is for the worker processes; in this one it would leave its mark on other tests.
        patch.setattr(train, "CHECKPOINT_PAUSE", train.CHECKPOINT_PAUSE)
        outcomes = perform_all(make_plan(load_source(str(study))), store)
    assert {outcome.state for outcome in outcomes} == {"done"}
    update_pairs(store)
    write_ledger(load_ledger(store.path), store.path)
    return study, (store.path / "results.csv").read_bytes()


def records(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/run.json")}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes of a running command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


def kill_when(condition: Callable[[], bool], study: Path, out: Path, workers: int) -> dict[Path, int]:
    """Start a study, kill its whole process group at a moment, and return the records that stand then."""
    process = start("run", study, "--out", out, "--workers", workers)
    try:
        wait_for(condition, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return records(out)


def test_after_kill_9_nothing_is_repeated_or_lost(uninterrupted, tmp_path, monkeypatch, capsys):
    study, expected = uninterrupted
    out = tmp_path / "out"

    def in_the_middle() -> bool:
        # A checkpoint beside its run's record is about to be removed.
        ended = {path.parent for path in records(out)}
        return bool(ended) and any(path.parent not in ended for path in out.glob("runs/*/training.safetensors"))

    before = kill_when(in_the_middle, study, out, workers=1)
    assert 1 <= len(before) < RUNS
    (checkpoint,) = out.glob("runs/*/training.safetensors")
    epochs = read_tree(checkpoint)["parts"]["history"]["epochs"]
    # The plugin of the study is read in this process too, where it is to leave no mark on other tests.
    monkeypatch.setattr(train, "CHECKPOINT_PAUSE", train.CHECKPOINT_PAUSE)
    code = run_command(["run", str(study), "--out", str(out), "--workers", "2"])
    err = capsys.readouterr().err
    assert code == 0, err
    assert f"{len(before)} done before" in err
    assert {path: records(out)[path] for path in before} == before
    assert (out / "results.csv").read_bytes() == expected
    # The times of the epochs before the kill show that they were not trained again.
    history = pd.read_parquet(checkpoint.with_name("history.parquet"))
    assert 1 <= len(epochs) < len(history)
    assert list(history["seconds"])[: len(epochs)] == [epoch["seconds"] for epoch in epochs]
    assert not list(out.glob("runs/*/training.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_after_many_kills_at_many_moments(workers, uninterrupted, tmp_path):
    study, expected = uninterrupted
    out = tmp_path / "out"
    moments = [
        lambda: out.is_dir(),
        lambda: any(out.glob("inits/*.safetensors")),
        lambda: any(out.glob("runs/*/history.parquet")),
        lambda: any(out.glob("runs/*/training.safetensors")),
        lambda: any(out.glob("runs/*/weights.safetensors")),
        lambda: len(records(out)) >= 1,
        lambda: len(list(out.glob("runs/*/predictions.safetensors"))) >= 3,
        lambda: len(records(out)) >= RUNS - 1,
    ]
    stood: dict[Path, int] = {}
    for moment in moments:
        after = kill_when(moment, study, out, workers)
        assert {path: after[path] for path in stood} == stood
        stood = after
    code, _, err = finish("run", study, "--out", out, "--workers", workers)
    assert code == 0, err
    assert {path: records(out)[path] for path in stood} == stood
    assert not list(out.rglob("*.tmp"))
    assert (out / "results.csv").read_bytes() == expected


@pytest.mark.slow
def test_two_commands_on_one_folder_share_the_work(uninterrupted, tmp_path):
    study, expected = uninterrupted
    out = tmp_path / "out"
    both = [start("run", study, "--out", out, "--workers", 1) for _ in range(2)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in both]
    assert [code for *_, code in ended] == [0, 0], ended
    trained = [line for _, err, _ in ended for line in err.splitlines() if " done in " in line]
    assert len(trained) == RUNS
    assert (out / "results.csv").read_bytes() == expected


@pytest.mark.slow
@needs_proc
def test_a_killed_worker_takes_only_its_run_with_it(uninterrupted, tmp_path):
    study, expected = uninterrupted
    out = tmp_path / "out"
    process = start("run", study, "--out", out, "--workers", 1)
    wait_for(lambda: len(records(out)) >= 1, process)
    os.kill(children(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert "the worker process died (signal 9" in err
    failed = [path for path in records(out) if Store(out).run(path.parent.name).read_record().state == "failed"]
    # None if it was killed when all of a run was written and only the report of its end was not.
    assert len(failed) <= 1
    assert process.returncode == len(failed), err
    assert len(records(out)) == RUNS
    assert finish("run", study, "--out", out)[0] == 0
    assert (out / "results.csv").read_bytes() == expected


@needs_proc
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_no_worker_outlives_its_command(number, uninterrupted, tmp_path):
    study, _ = uninterrupted
    out = tmp_path / "out"
    # Runs of about a second, so that the signal comes while others are to do.
    process = start("run", study, "--out", out, "--workers", 1, "--set", "training.epochs=150")
    wait_for(lambda: len(records(out)) >= 1, process)
    workers = children(process)
    assert workers
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert "Interrupted; what was done is kept" in err
        assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while not all(map(gone, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_cannot_start_fails_its_run_and_ends_the_study(study_file, tmp_path, capsys):
    plugin = tmp_path / "mine.py"
    plugin.write_text("import multiprocessing, os\nif multiprocessing.parent_process():\n    os._exit(7)\n")
    study = study_file(plugins=["mine.py"], regimes=["baseline"], sections=[])
    assert run_command(["run", str(study), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    out, err = capsys.readouterr()
    assert err.count("the worker process ended with exit code 7") == 2
    assert "0 of 2 runs done, 2 failed" in out


@pytest.mark.slow
def test_a_limit_on_file_size_is_a_failure_with_its_reason(study_file, tmp_path):
    study = study_file(regimes=["baseline"], model={"name": "mlp", "hidden": [600]})
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from sharpscope.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "run", str(study), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.rglob("*.tmp"))
