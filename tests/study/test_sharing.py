"""Commands that share the folder of a study: nobody breaks another's files, and nothing old is written over new."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger, results_of, write_ledger
from sharpscope.cli import run_command
from sharpscope.files import TEMPORARY
from sharpscope.store.folder import Store
from sharpscope.store.pairs import compute_pairs, write_pairs
from sharpscope.store.reading import Reading
from sharpscope.store.record import Record
from sharpscope.store.run_folder import CHECKPOINT, HISTORY
from sharpscope.store.status import Status
from sharpscope.study.run.engine import run_study

from .conftest import Heard, finish, needs_permissions, perform_all, start


def report(store: Store) -> str:
    """What the command does, but the figures."""
    with store.reporting():
        reading = Reading.of(store)
        pairs = compute_pairs(reading)
        write_pairs(store, pairs)
        results = results_of(reading, pairs)
        write_ledger(results.ledger, store.path)
    return "; ".join(results.notes)


def test_a_checkpoint_that_a_kill_left_behind_a_finished_run_is_removed_by_the_next_command(plan_of, store):
    perform_all(plan_of(grid={"seed": 1}), store)
    first, second = (store.run(run_id) for run_id in plan_of(grid={"seed": 1}).runs)
    for folder in (first, second):
        (folder.path / CHECKPOINT).write_bytes(b"")
        (folder.path / f".run.json.1-a{TEMPORARY}").write_bytes(b"")
    second.write_record(Record(second.run_id, "failed", "out of memory"))
    with first.lease():
        store.tidy()
        assert (first.path / CHECKPOINT).exists()
    store.tidy()
    assert not (first.path / CHECKPOINT).exists()
    # What has failed goes on from there.
    assert (second.path / CHECKPOINT).exists()
    assert not list(store.path.rglob(f"*{TEMPORARY}"))


def test_on_a_full_disk_no_more_runs_are_handed_out_and_the_place_is_named(here, plan_of, store, monkeypatch):
    plan = plan_of()
    heard = Heard()

    def full(name: str) -> Callable[..., None]:
        def fsync(descriptor: int) -> None:
            if name in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                raise OSError(errno.ENOSPC, "No space left on device")

        return fsync

    if not Path("/proc/self/fd").exists():
        pytest.skip("finds the names of files in /proc")
    monkeypatch.setattr("sharpscope.files.os.fsync", full(f"{plan.jobs[0][1]}/.weights"))
    with pytest.raises(OSError, match=r"No space left on device: .*weights.safetensors; free some") as raised:
        run_study(plan, store, heard, executor="here")
    assert raised.value.errno == errno.ENOSPC
    assert "1 of 4 runs done, 1 failed" in str(raised.value)
    assert [outcome.state for outcome in heard.outcomes] == ["done", "failed"]
    monkeypatch.undo()
    assert run_study(plan, store, Heard(), executor="here").whole
    whole = Store(store.path.with_name("whole"))
    perform_all(plan, whole)
    pd.testing.assert_frame_equal(load_ledger(store.path), load_ledger(whole.path), check_exact=True)


def test_files_that_are_replaced_while_a_report_is_made_are_not_damaged(plan_of, store):
    perform_all(plan_of(grid={"seed": 1}), store)
    reading = Reading.of(store)
    folder = reading.runs[0].folder
    record = folder.best_record()
    record.files[HISTORY] = folder.write(HISTORY, b"of another size")
    assert results_of(reading, compute_pairs(reading)).damaged
    folder.write_record(record)
    assert not results_of(reading, compute_pairs(reading)).damaged


def test_a_report_is_written_elsewhere_and_nothing_here(plan_of, store, tmp_path, capsys):
    perform_all(plan_of(sections=["pairs"]), store)
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    elsewhere = tmp_path / "else" / "where"
    assert run_command(["report", str(store.path), "--out", str(elsewhere)]) == 0
    assert capsys.readouterr().out == f"Report: {elsewhere / 'report.html'}\n"
    assert run_command(["status", str(store.path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*")} == before
    written = pd.read_csv(elsewhere / "results.csv")
    assert written["prediction_disagreement"].notna().all()
    assert run_command(["report", str(elsewhere), "--out", str(store.path)]) == 2
    assert "is the folder of another study" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run_command(["report", str(store.path), "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", pytest.param("report", marks=pytest.mark.slow)])
@pytest.mark.parametrize("wrong", ["failed", "damaged"])
def test_the_exit_code_tells_of_runs_that_failed_or_are_damaged(command, wrong, plan_of, store, capsys):
    plan = plan_of(grid={"seed": 1})
    perform_all(plan, store)
    folder = store.run(next(iter(plan.runs)))
    if wrong == "failed":
        folder.write_record(Record(folder.run_id, "failed", "out of memory"))
    else:
        (folder.path / "run.json").write_bytes(b"")
    assert run_command([command, str(store.path)]) == 1
    told = "".join(capsys.readouterr())
    if command == "report":
        told = (store.path / "report.html").read_text()
    assert ("out of memory" if wrong == "failed" else "run.json is damaged") in told
    assert load_ledger(store.path)["state"].tolist() == [wrong, "done"]


@needs_permissions
def test_a_folder_that_may_not_be_written_can_be_looked_at(plan_of, store, tmp_path, capsys):
    perform_all(plan_of(), store)
    for path in (store.path, *store.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert run_command(["status", str(store.path)]) == 0
        assert run_command(["report", str(store.path), "--out", str(tmp_path / "else")]) == 0
        assert run_command(["report", str(store.path)]) == 2
        assert "cannot be written; name another place with --out" in capsys.readouterr().err
    finally:
        for path in (store.path, *store.path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_reports_and_looks_while_a_study_is_run(here, plan_of, store):
    plan = plan_of(grid={"seed": 3})
    with store.in_use(plan.catalog):
        pass
    over = threading.Event()

    def again(look: Callable[[], str]) -> list[str]:
        told = []
        while not over.is_set():
            told.append(look())
        return told

    with ThreadPoolExecutor() as pool:
        looks = [pool.submit(again, lambda: report(store)) for _ in range(2)]
        looks.append(pool.submit(again, lambda: str(Status.of(store))))
        try:
            summary = run_study(plan, store, Heard(), executor="here")
            report(store)
        finally:
            over.set()
        told = [text for look in looks for text in look.result()]
    assert summary.whole
    assert told
    assert not any("damaged" in text for text in told)
    assert (store.path / "results.csv").read_text() == load_ledger(store.path).to_csv(index=False, lineterminator="\n")
    assert len(load_ledger(store.path)) == len(plan.runs)


@pytest.mark.slow
def test_many_commands_on_one_folder(study_file, tmp_path):
    study, out = study_file(grid={"seed": 4}), tmp_path / "out"
    expected = tmp_path / "expected"
    assert finish("run", study, "--out", expected, "--workers", 1)[0] == 0
    looks = [("report", out), ("status", out), ("report", out, "--out", tmp_path / "else")]
    ended: list[tuple[int, str]] = []

    def end(process: Any) -> None:
        err = process.communicate(timeout=300)[1]
        ended.append((process.returncode, err))

    for _ in range(3):
        runs = [start("run", study, "--out", out, "--workers", 1) for _ in range(2)]
        while not (out / "catalog.json").exists():
            time.sleep(0.05)
        for process in (*(start(*look) for look in looks), *(start(*look) for look in looks), *runs):
            end(process)
    assert {code for code, _ in ended} == {0}, ended
    assert not [err for _, err in ended if "damaged" in err]
    assert not list(out.rglob("*.tmp"))
    assert (out / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
