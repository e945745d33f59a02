"""Studies as written: their forms, the grid they span, the identity of a run, and where a mistake is."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from sharpscope.errors import SpecError
from sharpscope.spec import Component, Regime, Run, Study, Training, set_dotted, validated

WRITTEN: dict[str, Any] = {"name": "s", "data": "digits", "model": {"name": "mlp", "width": 8}}


def study(**changes: Any) -> Study:
    return validated(Study, {**WRITTEN, **changes})


def coordinates(**grid: list[Any]) -> list[Any]:
    points = study(grid={key.replace("__", "."): values for key, values in grid.items()}).expand()
    return [value for point in points for value in point.coordinates.values()]


def test_values_that_vary_stand_in_tables_as_they_are_or_as_text() -> None:
    assert coordinates(training__lr=[1, 0.1]) == [1, 0.1]
    assert coordinates(training__momentum=[None, 0.9]) == [None, 0.9]
    assert coordinates(model__hidden=[[64], [64, 32]]) == ["[64]", "[64, 32]"]
    assert coordinates(model__hidden=[64, [64, 32]]) == ["64", "[64, 32]"]
    assert coordinates(model__hidden=[True, 2]) == ["true", "2"]
    assert coordinates(training__optimizer_options=[{}, {"nesterov": True}]) == ["{}", "{nesterov: true}"]
    assert [point.run.model.options["hidden"] for point in study(grid={"model.hidden": [[8], [8, 8]]}).expand()] == [
        [8],
        [8, 8],
    ]


def run(**changes: Any) -> Run:
    tree = {"data": "digits", "model": "mlp", "training": {}, "regime": "baseline", "seed": 0, **changes}
    return validated(Run, tree)


@pytest.mark.parametrize(
    ("written", "name", "options"),
    [
        ("mlp", "mlp", {}),
        ({"name": "mlp"}, "mlp", {}),
        ({"name": "mlp", "width": 8}, "mlp", {"width": 8}),
        ({"name": "mlp", "options": {"width": 8}, "depth": 2}, "mlp", {"width": 8, "depth": 2}),
        ({"name": "mlp", "options": None}, "mlp", {}),
    ],
)
def test_a_component_is_a_name_with_options_beside_it(written: Any, name: str, options: dict[str, Any]) -> None:
    component = validated(Component, written)
    assert (component.name, component.options) == (name, options)
    assert validated(Component, component.model_dump()) == component


@pytest.mark.parametrize(
    ("written", "label", "parts"),
    [
        ("sam", "sam", {"sam": {}}),
        ("sam+augmentation", "sam+augmentation", {"sam": {}, "augmentation": {}}),
        (" sam + augmentation ", "sam+augmentation", {"sam": {}, "augmentation": {}}),
        ({"sam": {"rho": 0.1}}, "sam(rho=0.1)", {"sam": {"rho": 0.1}}),
        ({"sam": None}, "sam", {"sam": {}}),
        (
            {"sam": {"rho": 1e-4, "adaptive": True}},
            "sam(rho=0.0001,adaptive=True)",
            {"sam": {"rho": 1e-4, "adaptive": True}},
        ),
        ({"augmentation": {}, "sam": {"rho": 1}}, "augmentation+sam(rho=1)", {"augmentation": {}, "sam": {"rho": 1}}),
        ({"augmentation+sam": {"sam": {"rho": 1}}}, "augmentation+sam(rho=1)", {"augmentation": {}, "sam": {"rho": 1}}),
        ({"sam": {"rho": 0.1}, "label": "strong"}, "strong", {"sam": {"rho": 0.1}}),
        ({"sam": {}, "label": None}, "sam", {"sam": {}}),
        ({"sam": {}, "label": "no"}, "no", {"sam": {}}),
        (
            {"sam": {}, "label": "$$ \\ {_^ <b> \U0001f469\u200d\U0001f4bb"},
            "$$ \\ {_^ <b> \U0001f469\u200d\U0001f4bb",
            {"sam": {}},
        ),
    ],
)
def test_a_regime_is_the_sum_of_its_parts(written: Any, label: str, parts: dict[str, Any]) -> None:
    regime = validated(Regime, written)
    assert regime.label == label
    assert {part.name: part.options for part in regime.parts} == parts
    assert validated(Regime, regime.model_dump()) == regime
    assert validated(Regime, regime) == regime


@pytest.mark.parametrize(
    ("changes", "message", "loc"),
    [
        ({"regimes": [3]}, "a regime is a name, names joined", ("regimes", 0)),
        ({"regimes": ["sam", "sam"]}, "the regime 'sam' is listed twice", ()),
        ({"regimes": ["sam+sam"]}, r"the regime 'sam\+sam' names a part twice", ("regimes", 0)),
        (
            {"regimes": [{"sam": 0.1}]},
            r"options of regime 'sam' must be a mapping such as \{rho: 0.1\}, got 0.1",
            ("regimes", 0),
        ),
        (
            {"regimes": [{"a+sam": {"rho": 1}}]},
            r"options of 'a\+sam' belong to its parts: \{a: .*got 'rho'",
            ("regimes", 0),
        ),
        ({"regimes": [{}]}, "a regime names at least one part", ("regimes", 0)),
        ({"regimes": ["sam", {"label": "x"}]}, "a regime names at least one part", ("regimes", 1)),
        ({"regimes": []}, "regimes: .*at least one", ("regimes",)),
        ({"data": None}, "data", ("data",)),
        ({"data": {"name": "digits", "options": 3}}, "the options of 'digits' are a mapping .*got 3", ("data",)),
        ({"name": "a/b"}, "name: .*letters.*got 'a/b'", ("name",)),
        ({"modle": "mlp"}, "unknown key 'modle'; did you mean 'model'", ("modle",)),
        ({"training": {"epoch": 3}}, "unknown key 'epoch' in training; did you mean 'epochs'", ("training", "epoch")),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than 0, got 0", ("training", "epochs")),
        (
            {"training": {"lr": [0.1, 1]}},
            r"training.lr: .* write them in the grid: grid: \{training.lr: \[0.1, 1\]\}",
            ("training", "lr"),
        ),
        ({"grid": [3]}, r"the grid is a mapping .* \{seed: 10\}", ("grid",)),
        ({"grid": {"seed": 0}}, "grid.seed is a number of seeds or a list of them, got 0", ("grid",)),
        ({"grid": {"seed": True}}, "grid.seed is a number of seeds", ("grid",)),
        ({"grid": {"seed": [1.5]}}, "grid.seed must hold whole numbers, got 1.5", ("grid",)),
        ({"grid": {"seed": [1, 1]}}, "grid.seed holds a value twice", ("grid",)),
        ({"grid": {"model.hidden": [[1], [1]]}}, "grid.model.hidden holds a value twice", ("grid",)),
        ({"grid": {"seed": 1_000_000_000}}, "asks for 1000000000 seeds, and a study has at most 100000", ("grid",)),
        ({"grid": {"seed": 100_000, "a.b": [1, 2]}}, "the grid has 200000 runs, and a study has at most 100000", ()),
        ({"grid": {f"a.{key}": list(range(99)) for key in range(9)}}, "the grid has 913517247483640899 runs", ()),
        ({"data": {"name": "digits", "options": False}}, "the options of 'digits' are .*got False", ("data",)),
        ({"data": {"name": "digits", "options": 0}}, "the options of 'digits' are .*got 0", ("data",)),
        ({"regimes": [{"a+sam": {"sam": False}}]}, "of its part 'sam' must be a mapping .*got False", ("regimes", 0)),
        ({"regimes": [{"a+sam": {"sam": []}}]}, r"of its part 'sam' must be a mapping .*got \[\]", ("regimes", 0)),
        ({"regimes": [{"sam": False}]}, "of regime 'sam' must be a mapping .*got False", ("regimes", 0)),
        *(
            (
                {"regimes": [{"sam": {}, "label": label}]},
                f"regimes.label: expected text, got {label}; put it in quotes",
                ("regimes", 0, "label"),
            )
            for label in (False, True, 0, 0.0, 5)
        ),
        *(
            (
                {"regimes": [{"sam": {}, "label": label}]},
                "the label of a regime is one line of text",
                ("regimes", 0, "label"),
            )
            for label in ("", " ", "a\nb", "a\0", "\ud83d")
        ),
        ({"grid": {"training.lr": []}}, "grid.training.lr is an empty list", ("grid",)),
        ({"measures": [{"margin": {}}]}, "a list of measures holds names; with options write a mapping", ("measures",)),
        ({"measures": "margin"}, "measures are a list of names or a mapping", ("measures",)),
        ({"scores": {"ece": 15}}, "the options of score 'ece' are a mapping, got 15", ("scores",)),
    ],
)
def test_a_mistake_is_told_with_its_place(changes: dict[str, Any], message: str, loc: tuple[Any, ...]) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        study(**changes)
    assert caught.value.loc == loc


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SpecError, match="the key 'model' is missing; a study needs name, data and model"):
        validated(Study, {"name": "s", "data": "digits"})


def test_a_study_begins_with_one_baseline_and_one_seed() -> None:
    points = study().expand()
    assert [(p.run.regime.label, p.run.seed, p.coordinates) for p in points] == [("baseline", 0, {})]
    assert points[0].run.training == Training()
    assert points[0].run.model.options == {"width": 8}


def test_the_grid_is_the_product_seed_by_seed() -> None:
    whole = study(regimes=["baseline", "sam"], grid={"training.lr": [0.1, 1], "model.width": [4], "seed": 2})
    assert whole.varying == ["training.lr"]
    points = whole.expand()
    found = [(p.run.seed, p.run.training.lr, p.run.regime.label) for p in points]
    assert found == list(itertools.product([0, 1], [0.1, 1.0], ["baseline", "sam"]))
    assert all(p.run.model.options == {"width": 4} for p in points)
    assert points[0].coordinates == {"training.lr": 0.1}
    assert len({p.run.id for p in points}) == len(points)


def test_the_grid_reaches_options_of_components_given_by_name() -> None:
    points = study(
        grid={"data.train_size": [10, 20], "training.optimizer_options.nesterov": [True], "seed": [5]}
    ).expand()
    assert [p.run.data.options for p in points] == [{"train_size": 10}, {"train_size": 20}]
    assert all(p.run.training.optimizer_options == {"nesterov": True} for p in points)
    assert [p.run.seed for p in points] == [5, 5]


@pytest.mark.parametrize(
    ("grid", "message", "loc"),
    [
        ({"lr": [1]}, "the grid key 'lr' names nothing that varies", ("grid", "lr")),
        ({"regimes": [1]}, "names nothing that varies", ("grid", "regimes")),
        ({"training.rl": [1]}, "unknown key 'rl' in training; did you mean 'lr'", ("grid", "training.rl")),
        ({"training.lr": [0.1, -1]}, "training.lr: input should be greater than 0, got -1", ("grid", "training.lr")),
        ({"training.lr.x": [1]}, "leads into lr, which is 0.05 and has no parts", ("training.lr.x",)),
    ],
)
def test_a_mistake_in_the_grid_is_told_with_its_key(grid: dict[str, Any], message: str, loc: tuple[Any, ...]) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        study(grid=grid).expand()
    assert caught.value.loc == loc


def test_expanding_changes_nothing_of_the_study() -> None:
    whole = study(grid={"model.width": [1, 2]})
    before = whole.model_dump_json()
    whole.expand()
    assert whole.model_dump_json() == before


@pytest.mark.parametrize(
    "other",
    [
        {"training": {"lr": 0.05, "epochs": 30}},
        {"model": {"name": "mlp", "options": {}}},
        {"regime": {"label": "any", "baseline": {}}},
        {"regime": {"baseline": None}},
        {"model": {"name": "mlp", "version": 1}},
    ],
)
def test_what_does_not_determine_the_weights_is_outside_the_identity(other: dict[str, Any]) -> None:
    assert run(**other).id == run().id


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"training": {"lr": 0.1}},
        {"model": {"name": "mlp", "width": 8}},
        {"model": {"name": "mlp", "version": 2}},
        {"data": {"name": "digits", "train_size": 100}},
        {"regime": "sam"},
        {"regime": {"sam": {"rho": 0.1}}},
    ],
)
def test_what_determines_the_weights_is_in_the_identity(other: dict[str, Any]) -> None:
    assert run(**other).id != run().id


def test_the_order_of_parts_and_keys_does_not_matter() -> None:
    assert run(regime="sam+augmentation").id == run(regime="augmentation+sam").id
    assert run(regime="baseline+sam").id == run(regime="sam").id
    one, other = {"name": "mlp", "width": 8, "depth": 2}, {"depth": 2, "width": 8, "name": "mlp"}
    assert run(model=one).id == run(model=other).id


def test_an_identity_never_changes() -> None:
    """A run that was stored by one version is found by all later ones."""
    assert json.dumps(run(regime="sam").identity(), sort_keys=True) == (
        '{"data": {"name": "digits"}, "model": {"name": "mlp"}, "regime": [{"name": "sam"}], "seed": 0, "training": {}}'
    )
    script = (
        "from sharpscope.spec import Run; print(Run(data='digits', model='mlp', training={}, regime='sam', seed=0).id)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == run(regime="sam").id
    assert len(run().id) == 12


def test_measures_and_scores_are_brought_into_one_form() -> None:
    whole = study(
        measures=["margin"], scores={"ece": {"bins": 5}, "fine": {"score": "ece", "bins": 50}, "accuracy": None}
    )
    assert whole.measures == {"margin": {"measure": "margin"}}
    assert whole.scores == {
        "ece": {"score": "ece", "bins": 5},
        "fine": {"score": "ece", "bins": 50},
        "accuracy": {"score": "accuracy"},
    }
    assert study().measures is None


def test_a_study_survives_being_written_and_read() -> None:
    whole = study(
        regimes=["baseline", {"sam": {"rho": 0.1}, "label": "s"}, "sam+augmentation"],
        grid={"seed": 3, "training.lr": [0.1]},
        measures={"m": {"measure": "margin", "quantile": 0.5}},
        primary=["m"],
    )
    again = validated(Study, json.loads(json.dumps(whole.model_dump(mode="json"))))
    assert again == whole
    assert [p.run.id for p in again.expand()] == [p.run.id for p in whole.expand()]


def test_setting_a_dotted_key_opens_what_is_on_its_way() -> None:
    tree: dict[str, Any] = {"model": "mlp", "training": {"lr": 1}}
    set_dotted(tree, "model.width", 3)
    set_dotted(tree, "training.optimizer_options.beta", 2)
    assert tree == {"model": {"name": "mlp", "width": 3}, "training": {"lr": 1, "optimizer_options": {"beta": 2}}}
    set_dotted(tree := {"compare": "data.x"}, "compare.reference", 0.5)
    assert tree == {"compare": {"factor": "data.x", "reference": 0.5}}
    tree = {"training": {"lr": 1}}
    with pytest.raises(SpecError, match=r"'training.lr.x' leads into lr, which is 1"):
        set_dotted(tree, "training.lr.x", 0)
