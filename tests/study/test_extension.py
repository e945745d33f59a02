"""A study that extends another one is that study with the keys given in place of its own."""

from __future__ import annotations

import re

import pytest
import yaml

from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.spec import Study
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.extension import LONGEST_CHAIN
from sharpscope.study.source.presets import foundations, presets
from sharpscope.study.source.study import load_source

BASE = {
    "name": "base",
    "data": {"name": "digits", "train_size": 60},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"lr": 0.1, "epochs": 2, "optimizer_options": {"dampening": 0.1}},
    "regimes": ["baseline", "sam", "weight_decay"],
    "grid": {"seed": 3, "training.batch_size": [16, 32]},
    "measures": {"relative_flatness": None, "sam_sharpness": {"method": "expansion", "rho": 0.1}},
    "scores": ["accuracy", "ece"],
    "primary": ["relative_flatness", "ece"],
}


@pytest.fixture
def study(tmp_path):
    """Write studies into a folder by their names; return the path of the first one."""

    def write(**studies):
        for name, tree in studies.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False))
        return str(tmp_path / f"{next(iter(studies))}.yaml")

    return write


def changed(study, changes, *overrides, base=BASE):
    return load_source(study(mine={"extends": "base.yaml", **changes}, base=base), overrides).study


def written(**changes):
    """The study that BASE with other values at some keys is, written out."""
    return Study.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"name": "mine"}, {"name": "mine"}),
        (
            {"training": {"lr": 0.5, "schedule": "cosine"}},
            {"training": {**BASE["training"], "lr": 0.5, "schedule": "cosine"}},
        ),
        (
            {"training": {"optimizer_options": {"maximize": False}}},
            {"training": {**BASE["training"], "optimizer_options": {"dampening": 0.1, "maximize": False}}},
        ),
        ({"regimes": ["sam"]}, {"regimes": ["sam"]}),
        ({"grid": {"seed": 5}}, {"grid": {"seed": 5, "training.batch_size": [16, 32]}}),
        ({"grid": {"training.lr": [1, 2]}}, {"grid": {**BASE["grid"], "training.lr": [1, 2]}}),
        ({"scores": {"nll": None}}, {"scores": ["nll"]}),
        ({"measures": ["margin"]}, {"measures": ["margin"]}),
        ({"measures": {"margin": None}}, {"measures": {**BASE["measures"], "margin": None}}),
        (
            {"measures": {"sam_sharpness": {"rho": 0.2}}},
            {"measures": {"relative_flatness": None, "sam_sharpness": {"method": "expansion", "rho": 0.2}}},
        ),
        ({"measures": {"sam_sharpness": None}}, {"measures": {"relative_flatness": None, "sam_sharpness": None}}),
        ({"primary": None}, {"primary": None}),
        # Another dataset, model or measure begins without the options of what it replaces.
        ({"data": "mnist"}, {"data": "mnist"}),
        ({"data": {"train_size": 70}}, {"data": {"name": "digits", "train_size": 70}}),
        ({"data": {"test_size": 70}}, {"data": {"name": "digits", "train_size": 60, "test_size": 70}}),
        ({"data": {"name": "digits", "test_size": 7}}, {"data": {"name": "digits", "train_size": 60, "test_size": 7}}),
        ({"model": {"name": "resnet8", "width": 4}}, {"model": {"name": "resnet8", "width": 4}}),
        (
            {"measures": {"sam_sharpness": {"measure": "margin"}}},
            {"measures": {"relative_flatness": None, "sam_sharpness": {"measure": "margin"}}},
        ),
    ],
)
def test_keys_replace_mappings_merge(changes, expected, study):
    assert changed(study, changes) == written(**expected)


def test_a_component_given_by_its_name_is_opened(study):
    assert changed(study, {"model": {"width": 4}}, base={**BASE, "model": "resnet8"}) == written(
        model={"name": "resnet8", "width": 4}
    )


def test_order_is_that_of_what_is_extended(study):
    """The grid is expanded, and columns follow each other, in the order in which the first study wrote them."""
    found = changed(study, {"grid": {"training.lr": [1, 2], "seed": 1}, "measures": {"margin": None}})
    assert list(found.grid) == ["seed", "training.batch_size", "training.lr"]
    assert list(found.measures) == ["relative_flatness", "sam_sharpness", "margin"]


def test_overrides_come_last(study):
    assert changed(study, {"training": {"lr": 0.5}}, "training.lr=0.7").training.lr == 0.7
    assert changed(study, {}, "data.train_size=9").data.options == {"train_size": 9}


def test_chains(study):
    path = study(
        a={"extends": "b.yaml", "name": "a"},
        b={"extends": "c.yaml", "training": {"lr": 0.5}},
        c={"extends": "d.yaml", "training": {"lr": 0.7, "epochs": 5}},
        d=BASE,
    )
    assert load_source(path).study == written(name="a", training={**BASE["training"], "lr": 0.5, "epochs": 5})


def test_a_preset_is_extended_by_its_name(study):
    extended = load_source(study(mine={"extends": "digits", "name": "mine", "grid": {"seed": 2}})).study
    assert extended == load_source("digits", ["name=mine", "grid.seed=2"]).study


def test_a_path_starts_from_the_file(tmp_path, monkeypatch):
    (tmp_path / "above" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "above" / "base.yaml").write_text(yaml.safe_dump({**BASE, "plugins": ["own.py"]}))
    (tmp_path / "above" / "own.py").write_text("")
    (tmp_path / "above" / "deep" / "mine.yaml").write_text("extends: ../base.yaml\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = load_source("../above/deep/mine.yaml")
    assert source.study.name == "base"
    # So does that of a plugin, from the file that names it.
    assert make_plan(source).study.plugins == (str(tmp_path / "above" / "own.py"),)


def test_a_preset_extends_presets_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "protocol").write_text("training: {epochs: 1}\n")
    assert load_source("paper/cifar10-vgg19").study.training.epochs == 100


def test_what_is_stored_is_the_whole_study(study):
    """Filled in, without what it extends: it runs again wherever it is."""
    plan = make_plan(load_source(study(mine={"extends": "base.yaml", "name": "mine"}, base=BASE)))
    stored = plan.catalog["study"]
    assert "extends" not in stored
    again = make_plan(load_source(study(stored=stored)))
    assert again.catalog == plan.catalog
    assert plan.command == ("sharpscope", "run", "study.yaml")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"training": {"lr": -1}}, "mine.yaml, line 3: training.lr"),
        ({"regimes": ["sma"]}, "mine.yaml, line 3: unknown regime 'sma'"),
        ({"name": "mine", "data": {"train_size": "many"}}, "mine.yaml, line 4: option 'train_size'"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(changes, place, study):
    with pytest.raises(SpecError, match=re.escape(place)):
        make_plan(load_source(study(mine={"extends": "base.yaml", **changes}, base=BASE)))


OTHER = """name: base
data: digits
model: {name: mlp, hidden: [8]}
regimes:
  - baseline
  - sma
training:
  lr: 0.1
  epochs: many
"""


def test_what_is_wrong_in_the_other_study_is_told_there(study):
    mine = {"extends": "base.yaml", "training": {"lr": 0.5}}
    with pytest.raises(SpecError, match=r"^base.yaml, line 9: training.epochs"):
        changed(study, mine, base=OTHER)
    mine["training"]["epochs"] = 1
    with pytest.raises(SpecError, match=r"^base.yaml, line 6: unknown regime 'sma'"):
        make_plan(load_source(study(mine=mine, base=OTHER)))
    # A list is replaced, and with it the places of its items.
    mine["regimes"] = ["baseline", "ams"]
    with pytest.raises(SpecError, match=r"^mine.yaml, line 7: unknown regime 'ams'"):
        make_plan(load_source(study(mine=mine, base=OTHER)))


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        (
            {"a": {"extends": "a.yaml"}},
            "a.yaml, line 1: these studies extend one another in a circle, a.yaml -> a.yaml; one must stand by itself",
        ),
        (
            {"a": {"extends": "b.yaml"}, "b": {"extends": "c.yaml"}, "c": {"extends": "b.yaml"}},
            "c.yaml, line 1: these studies extend one another in a circle, a.yaml -> b.yaml -> c.yaml -> b.yaml",
        ),
        ({"a": {"extends": "digit"}}, "a.yaml, line 1: there is no preset and no file 'digit' to extend; did you mean"),
        ({"a": {"extends": "paper/protocl"}}, "did you mean 'paper/protocol'"),
        ({"mine": {"extends": "bace.yaml"}, "base": BASE}, "to extend; did you mean base.yaml"),
        ({"a": {"extends": ["b.yaml"]}}, "extends is the name of a preset or the path of a YAML file, got ['b.yaml']"),
        ({"a": {"extends": None}}, "extends is the name of a preset or the path of a YAML file, got None"),
        ({"a": {"extends": "b.yaml"}, "b": "- 1\n"}, "b.yaml: a study is a mapping with the keys name, data and model"),
        ({"a": {"extends": "b.yaml"}, "b": "x: [\n"}, "b.yaml, line 2, column 1: this is not YAML"),
        ({"a": {"extends": "b.yaml"}, "b": {"name": "b"}}, "a.yaml: the key 'data' is missing"),
        ({"a": {"exteds": "digits", "name": "a"}}, "unknown key 'exteds'; did you mean 'extends'?"),
    ],
)
def test_what_cannot_be_extended_is_told_in_one_sentence(studies, message, study):
    with pytest.raises(SharpscopeError) as caught:
        load_source(study(**studies))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_chain_has_an_end(study):
    links = {f"s{i}": {"extends": f"s{i + 1}.yaml"} for i in range(LONGEST_CHAIN)}
    last = f"s{LONGEST_CHAIN - 1}"
    assert load_source(study(**{**links, last: BASE})).study.name == "base"
    with pytest.raises(SpecError, match=f"^{last}.yaml, line 1: a chain of studies .* has at most {LONGEST_CHAIN}"):
        load_source(study(**links, **{f"s{LONGEST_CHAIN}": BASE}))


@pytest.mark.parametrize("key", ["extends", "extends.x"])
def test_an_override_extends_nothing(key):
    with pytest.raises(SpecError, match=f"--set {key}: what a study extends stands in its file"):
        load_source("digits", [f"{key}=mnist"])


def test_what_presets_have_in_common_is_no_study():
    assert list(foundations()) == ["paper/images", "paper/protocol"]
    assert not set(foundations()) & set(presets())
    with pytest.raises(SpecError, match="'paper/protocol' is no study by itself, since it lacks name, data and model"):
        load_source("paper/protocol")
    # With what it lacks it is one.
    assert load_source("paper/protocol", ["name=mine", "data=digits", "model=mlp"]).study.name == "mine"
