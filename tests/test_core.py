"""The library works with the core alone, and where an extra is missing one sentence says which."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sharpscope.extras import STUDY

from .core import core, modules, normalized, project, run_with_core

SMALL = {"torch", "numpy", "scipy", "pydantic", "safetensors"}

SETTING = """
import torch

import sharpscope

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
data = (torch.randn(30, 4), torch.randint(0, 3, (30,)))
"""


def ran(script: str) -> str:
    """Run a script with the core alone and return what it printed."""
    ended = run_with_core(script)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_core_is_small():
    declared = {normalized(text.partition(">")[0]) for text in project()["dependencies"]}
    assert declared == SMALL
    assert not core() & {"pandas", "pyarrow", "pyyaml", "typer", "rich", "scikit-learn", "matplotlib", "plotly"}


def test_what_is_looked_for_is_what_the_extra_brings():
    brought = {normalized(text.partition(">")[0]) for text in project()["optional-dependencies"]["study"]}
    assert set.union(*(modules()[module] for module in STUDY)) == brought - core()


def test_nothing_else_can_be_imported():
    hidden = [module for module, names in modules().items() if not names & core()]
    assert {"pandas", "yaml", "typer", "pytest", "sklearn"} <= set(hidden)
    ended = run_with_core("import pandas")
    assert "ModuleNotFoundError: No module named 'pandas'" in ended.stderr


def test_measures_prints_and_watches():
    out = ran(
        SETTING
        + """
found = sharpscope.measure(model, data)
print(found)
assert found._repr_html_() is None
monitor = sharpscope.SharpnessMonitor(data, ["gradient_norm", "hessian_trace"], every=1)
for step in range(2):
    monitor.step(model, step)
assert len(monitor.state_dict()["rows"]) == 4
print(monitor)
curvature = sharpscope.measure(
    model, data, ["hessian_trace", "hessian_top_eigenvalue", "hessian_frobenius_norm", "sam_sharpness"], progress=True
)
print(curvature, curvature["hessian_trace"])
print(curvature.to_json())
"""
    )
    assert "relative_flatness" in out
    assert "SharpnessMonitor(gradient_norm, hessian_trace; every 1 steps on 30 samples; 2 steps recorded" in out
    assert json.loads(out[out.index("{\n") :])["hessian_trace"]["samples"] == 30


def test_all_that_is_registered_is_there():
    script = """
from sharpscope.curvature.measure import MEASURES
from sharpscope.data import CONDITIONS, DATASETS
from sharpscope.models import MODELS
from sharpscope.safety import SCORES
from sharpscope.training import REGIMES

for registry in (MEASURES, MODELS, SCORES, REGIMES, DATASETS, CONDITIONS):
    assert len(registry) > 3, registry.kind
"""
    ran(script)


WITHOUT = {
    "sharpscope.measure(model, data, ['parameter_norm']).to_frame()": "to_frame needs the package pandas",
    "sharpscope.SharpnessMonitor(data, ['parameter_norm']).to_frame()": "a monitor's table needs the package pandas",
    "sharpscope.load_ledger('nowhere')": "load_ledger needs the extra study (matplotlib, pandas, ",
    "DATASETS['digits'](DataSource())": "dataset 'digits' needs the package sklearn",
    "DATASETS['circles'](DataSource())": "dataset 'circles' needs the package sklearn",
    "DATASETS['mnist'](DataSource())": "the cache of datasets needs the package platformdirs",
}


def test_says_in_one_sentence_which_extra_is_missing():
    calls = f"""
from sharpscope.data import DATASETS, DataSource

for call in {list(WITHOUT)!r}:
    try:
        eval(call)
    except sharpscope.errors.SharpscopeError as error:
        print(error)
"""
    told = ran(SETTING + calls).splitlines()
    for line, sentence in zip(told, WITHOUT.values(), strict=True):
        assert line.startswith(sentence)
        assert line.endswith("; install it with: pip install 'sharpscope[study]'")


@pytest.mark.parametrize("hidden", [None, ["pandas"]], ids=["the core alone", "without pandas"])
def test_the_command_says_so_too(hidden):
    ended = run_with_core("from sharpscope.__main__ import main\nmain()", hidden=hidden)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: the command sharpscope needs the extra study (")
    assert "pandas" in ended.stderr
    assert ended.stderr.endswith("install it with: pip install 'sharpscope[study]'\n")
    assert ended.stderr.count("\n") == 1


def test_the_whole_command_starts_from_there():
    ended = subprocess.run(
        [sys.executable, "-m", "sharpscope", "--version"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert ended.stdout.startswith("sharpscope ")
    assert project()["scripts"] == {"sharpscope": "sharpscope.__main__:main"}
