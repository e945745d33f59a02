"""The JSON schema of a study file says of a study what the program says, and knows every name and option."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from sharpscope.analysis.section import SECTIONS
from sharpscope.cli import run_command
from sharpscope.curvature.measure import MEASURES
from sharpscope.data import DATASETS
from sharpscope.errors import SharpscopeError
from sharpscope.models import MODELS
from sharpscope.safety import SCORES
from sharpscope.spec import EXTENDS, Study, Training
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.planning.schema import study_schema
from sharpscope.study.source.presets import foundations, preset_text, presets
from sharpscope.study.source.study import load_source
from sharpscope.training import REGIMES


@pytest.fixture(scope="module")
def schema():
    return study_schema({name: entry.summary for name, entry in SECTIONS.items()})


@pytest.fixture(scope="module")
def problems(schema):
    """Return what the schema has against a study."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda tree: [f"{error.json_path}: {error.message}" for error in validator.iter_errors(tree)]


def test_it_is_what_the_command_prints(schema, capsys):
    assert run_command(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema))


def test_every_key_is_there_and_told(schema):
    assert set(schema["properties"]) == {*Study.model_fields, EXTENDS}
    training = schema["properties"]["training"]["properties"]
    assert set(training) == set(Training.model_fields)
    for key, facts in (schema["properties"] | training).items():
        assert len(facts["description"]) > 10, key


@pytest.mark.parametrize("registry", [DATASETS, MODELS, REGIMES, MEASURES, SCORES], ids=lambda registry: registry.kind)
def test_every_name_has_its_options(registry, schema):
    for name, entry in {**registry, **registry.families}.items():
        found = schema["$defs"][f"{registry.kind}.{name}"]
        assert found["description"] == f"{entry.summary}."
        options = entry.json_schema()
        assert options.items() <= found["properties"].items()
        for option, default in entry.defaults.items():
            assert options[option]["description"]
            if isinstance(default, str | int | float | None):
                assert options[option]["default"] == default


@pytest.mark.parametrize("preset", presets())
def test_presets_pass(preset, problems):
    assert problems(yaml.safe_load(preset_text(preset))) == []


def test_what_presets_have_in_common_is_no_study(problems):
    for name in foundations():
        tree = yaml.safe_load(preset_text(name))
        found = problems(tree)
        # What it lacks may be in the study that it extends.
        assert len(found) == (0 if "extends" in tree else 3)
        assert all("is a required property" in problem for problem in found)


SMALL = {
    "name": "small",
    "data": {"name": "digits", "train_size": 60},
    "model": {"name": "mlp", "hidden": [8]},
    "measures": ["relative_flatness"],
    "scores": ["accuracy"],
}

RIGHT = [
    {},
    {"data": "digits", "measures": {"relative_flatness": None}},
    {"data": {"name": "digits", "options": {"train_size": 60}}},
    {"training": {"lr": 1, "momentum": None, "checkpoints_at_loss": [0.1], "schedule": "cosine"}},
    {
        "regimes": [
            "baseline",
            "sam",
            "augmentation+sam",
            {"sam": {"rho": 0.1}},
            {"weight_decay": None, "label": "decay"},
        ]
    },
    {"regimes": ["baseline", {"augmentation+weight_decay": {"weight_decay": {"value": 0.1}}}]},
    {"grid": {"seed": 2, "training.lr": [0.1, 0.2], "model.hidden": [[4], [8]], "training.batch_size": 16}},
    {"regimes": ["baseline", "sam"], "grid": {"regimes.sam.rho": [0.1, 0.2], "regimes.sam.adaptive": True}},
    {"measures": {"top": {"measure": "hessian_trace", "subset": 20}, "relative_flatness": {"normalize": False}}},
    {"measures": None, "scores": None, "primary": None, "sections": None},
    {"correction": "holm", "margin": {"test_accuracy": 0.01}},
    {"scores": {"ten": {"score": "ece", "bins": 10}}, "primary": ["relative_flatness", "ten"]},
    {"sections": ["levels", "paper_tests"]},
]

WRONG = [
    {"name": "a b"},
    {"name": 5},
    {"nmae": "small"},
    {"data": "digit"},
    {"data": {"train_size": 60}},
    {"data": {"name": "digits", "train_sizes": 60}},
    {"data": {"name": "digits", "train_size": "many"}},
    {"data": {"name": "image_folder"}},
    {"data": ["digits"]},
    {"model": {"name": "mlp", "hidden": 8}},
    {"model": {"name": "resnet9"}},
    {"training": {"learning_rate": 0.1}},
    {"training": {"lr": 0}},
    {"training": {"epochs": True}},
    {"training": {"schedule": "cosin"}},
    {"training": {"precision": "fp8"}},
    {"regimes": []},
    {"regimes": "baseline"},
    {"regimes": ["smm"]},
    {"regimes": ["augmentation+smm"]},
    {"regimes": [{"sam": {"roh": 0.1}}]},
    {"regimes": [{"sam": 0.1}]},
    {"regimes": [{"label": "x"}]},
    {"grid": {"seed": 0}},
    {"grid": {"seed": [0, 0]}},
    {"grid": {"training.lrs": [0.1]}},
    {"grid": {"lr": [0.1]}},
    {"grid": {"training.lr": []}},
    {"grid": {"training.lr": [0.1, -0.1]}},
    {"regimes": ["sam"], "grid": {"regimes.sam.roh": [0.1]}},
    {"regimes": ["sam"], "grid": {"regimes.sma.rho": [0.1]}},
    {"regimes": ["sam"], "grid": {"regimes.sam.rho": [0.1, -0.1]}},
    {"regimes": ["sam"], "grid": {"regimes.sam": [0.1]}},
    {"measures": ["relative_flatnes"]},
    {"measures": [{"relative_flatness": None}]},
    {"measures": {"mine": {"rho": 0.1}}},
    {"measures": {"mine": {"measure": "hessian_trac"}}},
    {"measures": {"relative_flatness": {"normalise": True}}},
    {"measures": {"relative_flatness": {"subset": 0}}},
    {"measures_subset": 0},
    {"scores": {"ece": {"bin": 10}}},
    {"primary": "relative_flatness"},
    {"correction": "bonferroni"},
    {"margin": {"test_accuracy": 0}},
    {"plugins": "mine.py"},
    {"sections": "regimes"},
    {"extends": 3},
]


def verdict(tree, tmp_path):
    """Return what the program has against a study; the names of sections are checked where reports are known."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    try:
        make_plan(load_source(str(path)))
    except SharpscopeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("changes", RIGHT, ids=str)
def test_what_is_right_passes(changes, problems, tmp_path):
    assert verdict({**SMALL, **changes}, tmp_path) == ""
    assert problems({**SMALL, **changes}) == []


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_what_is_wrong_does_not(changes, problems, tmp_path):
    assert verdict({**SMALL, **changes}, tmp_path)
    assert problems({**SMALL, **changes})


@pytest.mark.parametrize("key", ["name", "data", "model"])
def test_what_is_missing_is_missing(key, problems, tmp_path):
    tree = {name: value for name, value in SMALL.items() if name != key}
    assert f"the key '{key}' is missing" in verdict(tree, tmp_path)
    assert problems(tree) == [f"$: '{key}' is a required property"]
    # What it lacks may be what it extends.
    extending = {**tree, "extends": "digits", "primary": ["relative_flatness"]}
    assert verdict(extending, tmp_path) == ""
    assert problems(extending) == []


def test_an_extending_study_says_what_differs(problems, tmp_path):
    changes = {"extends": "digits", "data": {"train_size": 100}, "measures": {"sam_sharpness": {"rho": 0.1}}}
    assert verdict(changes, tmp_path) == ""
    assert problems(changes) == []
    changes["data"] = {"train_sizes": 100}
    assert verdict(changes, tmp_path)
    wrong = {"extends": "digits", "regimes": ["smm"]}
    assert verdict(wrong, tmp_path)
    assert problems(wrong)


@pytest.mark.parametrize("bringing", [{"plugins": ["mine.py"]}, {"extends": "mine.yaml"}], ids=str)
def test_plugins_and_other_files_may_bring_names(bringing, problems):
    theirs = {
        "data": {"name": "moons", "noise": 0.1},
        "model": "tiny",
        "regimes": ["mine", {"mine+sam": {"mine": {"x": 1}}}],
        "measures": {"twice": {"factor": 3}},
        "sections": ["seeds"],
        "grid": {"regimes.mine.x": [1, 2]},
    }
    for key, value in theirs.items():
        assert problems({**SMALL, key: value})
        assert problems({**SMALL, **bringing, key: value}) == []
    assert problems({**SMALL, **bringing, "training": {"lr": 0}})


def test_a_stored_study_passes(problems, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "regimes": ["baseline", {"sam": {"rho": 0.1}, "label": "SAM"}]}))
    stored = make_plan(load_source(str(path))).catalog["study"]
    assert problems(stored) == []


def test_names_that_are_not_listed():
    names = ["timm:x", "transformers:y", "my.nets:make"]
    for pattern, name in zip(MODELS.open_names, names, strict=True):
        assert re.match(pattern, name)
    assert not re.match(MODELS.open_names[-1], "3d:x")
