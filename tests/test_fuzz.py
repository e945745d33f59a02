"""Whatever stands in a study or on the command line: an exit code and one sentence, and nothing written elsewhere."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sharpscope.cli import run_command
from sharpscope.errors import SharpscopeError
from sharpscope.spec import Study, Training

FEW, MANY = 25, 2000

STUDY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "train_size": 60},
    "model": {"name": "mlp", "hidden": [4]},
    "training": {"epochs": 1, "batch_size": 32, "optimizer_options": {"nesterov": True}, "momentum": 0.9},
    "regimes": ["baseline", {"sam": {"adaptive": True}, "label": "strong"}],
    "grid": {"seed": 2, "training.lr": [0.1, 0.01], "regimes.sam.rho": [0.1, 0.2]},
    "compare": {"factor": "regimes.sam.rho", "reference": 0.1, "ordered": True},
    "measures": {"relative_flatness": {}, "flat": {"measure": "gradient_norm", "subset": 10}},
    "measures_subset": 50,
    "scores": ["ece", "prediction_disagreement"],
    "primary": ["ece"],
    "plugins": [],
}
TEXT = yaml.safe_dump(STUDY, sort_keys=False)

# No number between these: what is merely large would be done, and takes its time.
NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e-300, 1e300, 2**31, 2**63 - 1, 2**63, -(2**63), 10**4000)
WORDS = (
    *("", " ", "no", "null", "nan", ".inf", "1e999", "2026-13-45", "0x1F", "$$", "a\0b", "\ud83d"),
    *("\ud83d\ude00", "a\nb", "-h"),
    *("../../etc/passwd", "/", "~", "x" * 400, "sam+sam", "+", "os:system", "math:sqrt", ":", "a.b:c", "{}", "%s"),
    *["sam", "mlp", "resnet8", "circles", "names", "adam", "sgd", "cosine", "bf16", "ece", "margin", "seed", "label"],
)
KEYS = (
    *(*Study.model_fields, *Training.model_fields, *WORDS),
    *("hidden", "name", "options", "version", "samples", "train_size", "subset", "measure", "rho", "augmentation"),
    *("training.lr", "model.name", "model.hidden", "data.train_size", "training.optimizer_options.nesterov"),
    *("differentiable", "label", "weight_decay", "factor", "reference", "ordered", "regime"),
    *("regimes.sam.rho", "regimes.sam.adaptive", "regimes.sam", "regimes.baseline.x", "regimes..", "regimes.sam.rho.x"),
)
scalars = st.sampled_from((None, True, False, *NUMBERS, *WORDS))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)
PIECES = (
    *("&a ", "*a", "<<: *a", "!!int ", "!!python/object:os.system ", "!!set ", ": ", "- ", "{", "}", "[", "]"),
    *(
        '"',
        "'",
        "\\",
        "\t",
        "\n",
        "\n\n  ",
        "#",
        "|",
        ">",
        "?",
        "%",
        "@",
        "---\n",
        "...\n",
        "\x07",
        "\u2028",
        "\U0001f600",
    ),
    *("\U0001f600", "\\ud83d", "9" * 5000, "[" * 500, "- " * 500, "2026-13-45", "null", "no"),
)


@st.composite
def changed_studies(draw) -> str:
    """A study of which something is changed, added or taken out, as JSON, which is YAML."""
    study = copy.deepcopy(STUDY)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = study
        while True:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            if not at[key] or not isinstance(at[key], dict | list) or draw(st.integers(0, 3)) == 0:
                break
            at = at[key]
        what = draw(st.integers(0, 5))
        if what == 0 and len(at) > 1:
            del at[key]
        elif what == 1 and isinstance(at, dict):
            at[draw(st.sampled_from(KEYS))] = draw(values)
        else:
            at[key] = draw(values)
    return json.dumps(study)


@st.composite
def changed_texts(draw) -> str:
    """The text of a study with pieces put in or taken out."""
    text = TEXT
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = begin + draw(st.sampled_from((0, 0, 1, 5, 40)))
        text = text[:begin] + draw(st.sampled_from(PIECES)) + text[end:]
    return text


TRAINING = tuple(Training.model_fields)
overrides = st.lists(
    st.tuples(
        st.sampled_from(
            [*KEYS, *(f"training.{key}" for key in Training.model_fields), *(f"grid.{key}" for key in KEYS)]
        ),
        st.sampled_from(("=", "=", "=", "", "==")),
        values.map(json.dumps) | st.sampled_from(PIECES),
    ).map("".join),
    max_size=3,
)


@st.composite
def commands(draw) -> tuple[str, list[str]]:
    """A study and the arguments of a command on it."""
    kind = draw(st.integers(0, 2))
    text = draw(changed_studies()) if kind == 0 else draw(changed_texts()) if kind == 1 else TEXT
    changes = draw(overrides) if kind == 2 else []
    arguments = ["run", "study.yaml", *(part for change in changes for part in ("--set", change))]
    if draw(st.integers(0, 9)) == 0:
        arguments += [
            draw(st.sampled_from(("--out", "--data-dir", "--device", "--executor", "--workers"))),
            draw(odd_words),
        ]
    return text, arguments


# As the system passes arguments: without NUL, and what is no UTF-8 as halves of characters.
odd_words = st.sampled_from(
    [*(word for word in WORDS if "\0" not in word and "\ud83d\ude00" not in word), "out", "study.yaml"]
)
MODELS = """
import sys, torch
from torch import nn

def linear(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def points(): return nn.Linear(2, 2)
def nothing(): return None
def raises(): raise KeyError("x")
def leaves(): sys.exit(0)
def half(): return linear().half()
def double(): return linear().double()
def few(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.inner = how, linear()
    def forward(self, x):
        return self.how(self.inner(x))

def pair(): return Odd(lambda out: (out, out))
def nan(): return Odd(lambda out: out * torch.nan)
def flat(): return Odd(lambda out: out.flatten())
def exits(): return Odd(lambda out: sys.exit(0))
number = 3
"""
FACTORIES = (
    *("linear", "points", "nothing", "raises", "leaves", "half", "double"),
    *("few", "pair", "nan", "flat", "exits", "number", "absent"),
)
WEIGHTS = ("linear.safetensors", "odd.pt", "points.pt", "nan.pt", "bytes.pt", "number.pt", ".")
measure_arguments = st.builds(
    lambda model, weights, data, measures, json_: [
        "measure",
        "--model",
        model,
        "--weights",
        weights,
        "--data",
        data,
        *(["--measures", measures] if measures is not None else []),
        *(["--json"] if json_ else []),
    ],
    st.sampled_from([f"fuzzed_nets:{name}" for name in FACTORIES]) | odd_words,
    st.sampled_from(WEIGHTS) | odd_words,
    st.sampled_from(("digits", "circles", "digits", "names")) | odd_words,
    st.none() | st.sampled_from(("margin", "head_norm,margin", "relative_flatness", ",", "margin,margin")) | odd_words,
    st.booleans(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder to work in, with weights of several kinds."""
    folder = tmp_path_factory.mktemp("fuzz") / "here"
    folder.mkdir()
    (folder / "fuzzed_nets.py").write_text(MODELS)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict()
    save_file(linear, folder / "linear.safetensors")
    torch.save({f"inner.{key}": value for key, value in linear.items()}, folder / "odd.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "points.pt")
    torch.save({key: value * torch.nan for key, value in linear.items()}, folder / "nan.pt")
    torch.save({1: torch.zeros(2), "x": "y"}, folder / "number.pt")
    (folder / "bytes.pt").write_bytes(b"PK\x03\x04 no weights")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    """Work in the folder, and end where a study would begin to run."""

    def planned(*_: object, **__: object) -> None:
        raise SharpscopeError("planned")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sharpscope.study.run.engine.run_study", planned)
    # The modules of a user's own are found from the current folder.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.name != "study.yaml"}


def check(arguments: list[str], folder: Path, capsys) -> str:
    """Run a command and see that it ends as commands end; return what it says is wrong."""
    for stream in (sys.stdout, sys.stderr):
        # As in a process of its own: what a terminal cannot show is no error.
        stream.reconfigure(errors="backslashreplace")
    before = files(folder.parent)
    code = run_command(arguments)
    told = capsys.readouterr()
    assert code in (0, 1, 2), (code, told.err)
    assert "Traceback" not in told.err
    assert bool(code) == bool(told.err), told
    assert len(told.err) < 3000, told.err
    assert files(folder.parent) == before
    return told.err


def bounded(examples: int) -> Any:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def try_studies(folder: Path, capsys, examples: int) -> None:
    @bounded(examples)
    @given(commands())
    def each(command: tuple[str, list[str]]) -> None:
        text, arguments = command
        Path("study.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        assert check(arguments, folder, capsys)

    each()


def try_measure(folder: Path, capsys, examples: int) -> None:
    @bounded(examples)
    @given(measure_arguments)
    def each(arguments: list[str]) -> None:
        check(arguments, folder, capsys)

    each()


def test_any_study_is_planned_or_refused(folder, capsys):
    try_studies(folder, capsys, FEW)


def test_any_checkpoint_is_measured_or_refused(folder, capsys):
    try_measure(folder, capsys, FEW)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_studies_are_planned_or_refused(folder, capsys):
    try_studies(folder, capsys, MANY)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_checkpoints_are_measured_or_refused(folder, capsys):
    try_measure(folder, capsys, MANY // 4)
