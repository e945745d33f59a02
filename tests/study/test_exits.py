"""Code of the user's that ends its own process, or asks to: a failure with its reason, and no work left undone."""

from __future__ import annotations

import json

import pytest

from sharpscope.cli import run_command
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source

from .conftest import finish, perform_all

PLUGIN = """
import multiprocessing, os, signal, sys
from torch import nn
from sharpscope.extend import MODELS

FAULTS = {
    "none": lambda: None,
    "sys.exit": lambda: sys.exit(0),
    "os._exit": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
}

class Faulty(nn.Sequential):
    def __init__(self, fault, everywhere, *parts):
        super().__init__(*parts)
        self.fault, self.everywhere = fault, everywhere

    def forward(self, inputs):
        if self.everywhere or multiprocessing.parent_process() is not None:
            FAULTS[self.fault]()
        return super().forward(inputs)

@MODELS.register()
def faulty(shape, classes, *, fault: str = "none", everywhere: bool = False):
    "A model that ends its process."
    return Faulty(fault, everywhere, nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.fixture
def faulty(study_file):
    """Write the tiny study of such models; what its plugin registers is for one test only."""
    study = study_file(
        model={"name": "faulty"}, plugins=["faulty.py"], regimes=["baseline"], grid={"seed": 1}, scores=["ece"]
    )
    (study.parent / "faulty.py").write_text(PLUGIN)
    return study


def test_a_run_that_asks_to_end_its_process_has_failed(faulty, tmp_path, monkeypatch):
    plan = make_plan(load_source(str(faulty), ["grid.model.fault=[sys.exit, none]"]))
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "as in a worker")
    outcomes = perform_all(plan, Store(tmp_path / "out"))
    told = [(outcome.state, outcome.reason) for outcome in outcomes]
    assert told == [("failed", "it calls sys.exit(0)"), ("done", "")]


@pytest.mark.slow
def test_a_run_that_ends_its_process_has_failed_and_the_others_are_done(faulty, tmp_path, capsys):
    faults = {
        "none": "",
        "sys.exit": "it calls sys.exit(0)",
        "os._exit": "the worker process ended with exit code 0",
        "killed": "the worker process died (signal 9; the machine may have run out of memory)",
    }
    out = tmp_path / "out"
    code, _, err = finish(
        "run", faulty, "--out", out, "--workers", 1, "--set", f"grid.model.fault={json.dumps(list(faults))}"
    )
    assert code == 1, err
    assert "Traceback" not in err
    assert run_command(["status", str(out), "--json"]) == 1
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert {run["coordinates"]["model.fault"]: run["reason"] for run in runs} == faults


@pytest.mark.slow
def test_an_interruption_that_a_model_raises_in_a_worker_is_one(faulty, tmp_path):
    out = tmp_path / "out"
    override = "grid.model.fault=[none, interrupt]"
    code, _, err = finish("run", faulty, "--out", out, "--workers", 1, "--set", override)
    assert (code, err.count("Interrupted; what was done is kept")) == (130, 1)
    assert "Traceback" not in err
    states = [json.loads(path.read_text())["state"] for path in out.glob("runs/*/run.json")]
    assert states == ["done"]


def test_an_interruption_that_a_model_raises_when_it_is_planned_is_one(faulty):
    overrides = ["--set", "model.fault=interrupt", "--set", "model.everywhere=true"]
    assert run_command(["run", str(faulty), "--out", str(faulty.parent / "out"), *overrides]) == 130
    assert not (faulty.parent / "out").exists()


@pytest.mark.parametrize("plugin", ["import sys\nsys.exit(0)\n", "raise SystemExit\n"])
def test_a_plugin_that_ends_the_process_is_told_with_its_line(plugin, faulty, capsys):
    (faulty.parent / "faulty.py").write_text(plugin)
    assert run_command(["run", str(faulty), "--out", str(faulty.parent / "out")]) == 2
    line = len(plugin.splitlines())
    assert f"the plugin faulty.py fails in line {line}: it calls sys.exit(" in capsys.readouterr().err
    assert not (faulty.parent / "out").exists()


@pytest.mark.parametrize(
    ("where", "code"),
    [("def make(): sys.exit(0)", 2), ("sys.exit(0)", 2)],
    ids=["factory", "import"],
)
def test_a_model_to_measure_that_ends_the_process(where, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "leaving", raising=False)
    (tmp_path / "leaving.py").write_text(f"import sys\n{where}\n")
    arguments = ["measure", "--model", "leaving:make", "--weights", "w.pt", "--data", "digits"]
    assert run_command(arguments) == code
    err = capsys.readouterr().err
    assert "leaving:make" in err
    assert "xit" in err
