from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import sharpscope
from sharpscope.cli import run_command

STUDY = {
    "name": "tiny",
    "data": {"name": "digits", "train_size": 60},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 1},
    "regimes": ["baseline", "sam"],
    "grid": {"seed": 2},
    "measures": ["relative_flatness"],
    "scores": ["ece", "prediction_disagreement"],
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a study in it, as the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


def test_help_needs_nothing_heavy():
    script = (
        "import sys; from sharpscope.cli import run_command; assert run_command(['--help']) == 0;"
        "heavy = {'torch', 'pandas', 'numpy', 'matplotlib', 'scipy'} & sys.modules.keys(); assert not heavy, heavy"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for command in ("run", "plan", "status", "report", "power", "measure", "list", "explain", "schema"):
        assert command in ended.stdout


def test_version(capsys):
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"sharpscope {sharpscope.__version__}\n"


def test_every_measure_can_be_planned_and_timed(here, capsys):
    from sharpscope.study.planning.listing import listing

    # Points of the plane: the data for which every measure is defined.
    overrides = ["--set", f"measures={list(listing('measures'))}", "--set", "data=circles"]
    assert run_command(["plan", "tiny.yaml", *overrides]) == 0, capsys.readouterr().err
    assert "4 to do" in capsys.readouterr().out


def test_a_study_from_run_to_report(here, capsys):
    assert run_command(["plan", "tiny.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "4 runs = 2 regimes x 2 seeds" in shown
    assert "0 done, 4 to do" in shown
    assert not (here / "sharpscope-runs").exists()

    assert run_command(["run", "tiny.yaml", "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    folder = here / "sharpscope-runs" / "tiny"
    assert "4 of 4 runs done" in out
    assert f"Report: {folder.relative_to(here) / 'report.html'}" in out
    assert "4/4" in err
    for name in ("study.yaml", "results.csv", "results.parquet", "report.html", "tables", "figures"):
        assert (folder / name).exists()
    assert len(sharpscope.load_ledger(folder)) == 4

    assert run_command(["plan", "tiny.yaml", "--json"]) == 0
    assert all(point["done"] for point in json.loads(capsys.readouterr().out)["grid"])
    assert run_command(["status", str(folder)]) == 0
    assert capsys.readouterr().out == "tiny: 4 runs: 4 done\n"

    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run_command(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == before


PLUGIN = """
from sharpscope.extend import SCORES, Estimate, MeasureFacts, ScoreFacts, measure

@measure(MeasureFacts("Twice", "2", "larger", frozenset(), "none", True, ""))
def twice(risk, *, factor: float = 2.0):
    '''A number.'''
    return Estimate(factor)
    yield

@SCORES.register(facts=ScoreFacts("Agreement", "higher", "fraction", of_pairs=True))
def agreement(first, second):
    '''Share of equal predictions.'''
    return float((first.test.predicted == second.test.predicted).mean())
"""


@pytest.mark.slow
def test_a_report_needs_neither_plugins_nor_torch(here, capsys):
    (here / "mine.py").write_text(PLUGIN)
    study = {**STUDY, "plugins": ["mine.py"], "measures": {"twice": {"factor": 3}}, "scores": ["ece", "agreement"]}
    (here / "mine.yaml").write_text(yaml.safe_dump(study))
    assert run_command(["run", "mine.yaml", "--out", "out"]) == 0, capsys.readouterr().err
    ledger = sharpscope.load_ledger("out")
    assert (ledger["twice"] == 3).all()
    assert ledger["agreement"].between(0, 1).all()
    (here / "mine.py").unlink()
    script = (
        "import sys; from sharpscope.cli import run_command; assert run_command(['report', 'out']) == 0;"
        "import sharpscope; assert 'torch' not in sys.modules;"
        "assert sharpscope.load_ledger('out')['agreement'].notna().all()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("x = 1\nraise KeyError('oops')\n", "the plugin bad.py fails in line 2: KeyError: 'oops'"),
        ("x = 1\n\ndef f(:\n", "the plugin bad.py fails in line 3: SyntaxError: invalid syntax"),
        (
            "from sharpscope.extend import SCORES\n@SCORES.register()\ndef ece(p):\n    'Mine.'\n",
            "score 'ece' is registered by sharpscope.safety.calibration.expected_error already",
        ),
    ],
)
def test_a_plugin_that_fails_is_told_with_its_line(plugin, message, here, capsys):
    (here / "bad.py").write_text(plugin)
    (here / "bad.yaml").write_text(yaml.safe_dump({**STUDY, "plugins": ["bad.py"]}))
    assert run_command(["run", "bad.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert not (here / "sharpscope-runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument 'STUDY'"),
        (["run", "tiny.yaml", "--workers", "0"], "--workers"),
        (["run", "tiny.yaml", "--executor", "slurm"], "unknown executor 'slurm' (known: "),
        (["run", "tiny.yaml", "--set", "regimes=[bse]"], "--set regimes: unknown regime 'bse'"),
        (["run", "tyni.yaml"], "there is no file 'tyni.yaml'; did you mean tiny.yaml?"),
        (["run", "tiny.yaml", "--out", "tiny.yaml"], "--out must be a folder"),
        (["run", "tiny.yaml", "--out", "tiny.yaml/deeper"], "Not a directory"),
        (["run", "tiny.yaml", "--data-dir", "absent"], "absent"),
        (["plan", "tiny.yaml", "--set", "model=resnet9"], "unknown model 'resnet9'"),
        (["plan", "tiny.yaml", "--set", "sections=[level]"], "--set sections: unknown section 'level'; did you mean"),
        (["status", "absent"], "there is no folder absent"),
        (["report", "."], "is not the folder of a study"),
        (
            ["report", ".", "--columns", "levels"],
            "--columns takes TABLE=NAME,NAME, such as levels=baseline,sam; got 'levels'",
        ),
        (["list", "modles"], "unknown list 'modles'; did you mean 'models'"),
        (["explain", "eec"], "dataset, model or claim 'eec'; did you mean 'ece'"),
        (["rnu"], "No such command"),
        (["explain", "SAM"], "claim 'SAM'; did you mean 'sam'"),
        (
            ["measure", "--model", "nets", "--weights", "w", "--data", "digits"],
            "the model must be named as package.module:function, got 'nets'",
        ),
        (["measure", "--model", "nets:make", "--weights", "absent.pt", "--data", "digits"], "no file of weights"),
        (["measure", "--model", "nets:make", "--weights", "bad.pt", "--data", "digits"], "cannot be read as weights"),
        (["measure", "--model", "nets:make", "--weights", "other.pt", "--data", "digits"], "do not fit nets:make"),
        (["measure", "--model", "nets:make", "--weights", "w.safetensors", "--data", "digit"], "unknown dataset"),
        (
            ["measure", "--model", "nets:make", "--weights", "w.safetensors", "--data", "digits", "--measures", "q"],
            "unknown measure 'q'",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(arguments, message, checkpoint, here, capsys):
    before = sorted(p for p in here.rglob("*") if "__pycache__" not in p.parts)
    assert run_command(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert sorted(p for p in here.rglob("*") if "__pycache__" not in p.parts) == before


@pytest.fixture
def checkpoint(here) -> torch.nn.Module:
    """Weights of a model that ``nets:make`` makes, as both kinds of file, and files that are none."""
    (here / "nets.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    save_file(model.state_dict(), here / "w.safetensors")
    torch.save(model.state_dict(), here / "w.pt")
    torch.save(torch.nn.Linear(3, 2).state_dict(), here / "other.pt")
    (here / "bad.pt").write_bytes(b"not weights")
    return model


@pytest.mark.parametrize("weights", ["w.safetensors", "w.pt"])
def test_a_checkpoint_is_measured_as_in_python(weights, checkpoint, here, capsys):
    from sharpscope.data import DATASETS, DataSource

    arguments = ["measure", "--model", "nets:make", "--weights", weights, "--data", "digits"]
    assert run_command([*arguments, "--measures", "relative_flatness, margin", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    data = DATASETS["digits"](DataSource())
    batch = (data.normalize(data.train_inputs), data.train_targets)
    expected = sharpscope.measure(checkpoint, [batch], ["relative_flatness", "margin"])
    assert list(found) == ["relative_flatness", "margin"]
    for key, estimate in expected.items():
        assert found[key]["value"] == pytest.approx(estimate.value, rel=1e-5)
    assert run_command(arguments) == 0
    assert "relative_flatness" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("measures", "relative_flatness"),
        ("scores", "ece"),
        ("datasets", "digits"),
        ("models", "resnet8"),
        ("regimes", "sam"),
        ("conditions", "gaussian_noise"),
        ("executors", "local"),
        ("studies", "digits"),
    ],
)
def test_lists_are_a_name_and_a_summary_a_line(what, name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert run_command(["list", what]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(len(row) == 2 and all(row) for row in rows)
    assert name in dict(rows)
    assert run_command(["list", what, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dict(rows)


def test_every_name_is_explained_with_all_its_options(capsys):
    from sharpscope.study.planning.listing import REGISTRIES

    directions = ("a sharper minimum has the", "a more complex function has the", "neither direction means sharper")
    lists = {"measures": directions, "scores": ("is better",)}
    for what in ("measures", "scores", "regimes", "conditions", "datasets", "models"):
        told = lists.get(what, (f"(a {what.removesuffix('s')}, definition ",))
        registry = REGISTRIES[what]()
        for name, entry in {**registry, **registry.families}.items():
            assert run_command(["explain", name]) == 0
            text = capsys.readouterr().out
            assert any(direction in text for direction in told)
            assert "``" not in text
            assert ":math:" not in text
            assert all(re.search(rf"\b{option} \((default .*|to be given)\): \S", text) for option in entry.defaults)


def test_a_name_that_several_kinds_have_is_explained_for_each(capsys):
    assert run_command(["explain", "relative_flatness"]) == 0
    text = capsys.readouterr().out
    assert "(a measure, definition" in text
    assert "(a regime, definition" in text


def test_a_name_of_a_family_is_explained_as_the_family(capsys):
    assert run_command(["explain", "timm:resnet18"]) == 0
    assert capsys.readouterr().out.startswith("timm:NAME (a model")


def test_a_reader_who_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m sharpscope explain ece | head -n 1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[-1] == "0"
