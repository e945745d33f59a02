"""What is compared: its levels, their order, the reference, and the settings in which they stand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sharpscope.errors import SpecError
from sharpscope.spec import Factor, Study, validated

WRITTEN: dict[str, Any] = {"name": "s", "data": "circles", "model": "mlp", "regimes": ["baseline", "sam"]}


def study(**changes: Any) -> Study:
    return validated(Study, {**WRITTEN, **changes})


def factor(compare: Any = "regime", regimes: Any = ("baseline", "sam"), **grid: Any) -> Factor:
    keys = {key.replace("__", "."): values for key, values in grid.items()}
    return study(regimes=list(regimes), grid=keys, compare=compare).factor


def test_regimes_are_compared_with_baseline_or_the_first() -> None:
    found = study().factor
    assert (found.name, found.levels, found.reference, found.ordered) == (
        "regime",
        ("baseline", "sam"),
        "baseline",
        False,
    )
    assert factor(regimes=["sam", "baseline"]).reference == "baseline"
    assert factor(regimes=["sam", "augmentation"]).reference == "sam"
    assert factor({"reference": "sam"}).reference == "sam"


def test_regimes_with_options_of_the_grid_are_levels_of_their_own() -> None:
    found = factor(regimes=["baseline", "sam"], regimes__sam__rho=[0.05, 0.1], training__lr=[1, 2])
    assert found.levels == ("baseline", "sam(rho=0.05)", "sam(rho=0.1)")
    points = study(grid={"regimes.sam.rho": [0.05, 0.1], "training.lr": [1, 2]}).expand()
    assert {found.level(p.run.regime.label, p.coordinates) for p in points} == set(found.levels)


@pytest.mark.parametrize(
    ("values", "levels", "ordered"),
    [
        ([0.5, 0.95], ("0.5", "0.95"), True),
        ([128, 64.5], ("128", "64.5"), True),
        ([128, 1e6], ("128", "1000000"), True),
        ([None, 0.9], ("null", "0.9"), False),
        ([True, False], ("true", "false"), False),
        (["a", "b"], ("a", "b"), False),
        ([[64], [64, 32]], ("[64]", "[64, 32]"), False),
        ([1e-5, "x"], ("1e-05", "x"), False),
    ],
)
def test_levels_of_a_key_are_its_values_in_their_order(values: Any, levels: tuple[str, ...], ordered: bool) -> None:
    found = factor("data.x", data__x=values)
    assert (found.levels, found.reference, found.ordered) == (levels, levels[0], ordered)
    points = study(grid={"data.x": values}).expand()
    assert {found.level("sam", point.coordinates) for point in points} == set(levels)


def test_order_is_by_value_and_the_reference_the_first_that_is_written() -> None:
    found = factor("data.x", data__x=[128, 16, 64])
    assert found.reference == "128"
    assert dict(found.ranks) == {"16": 0, "64": 1, "128": 2}
    assert not factor({"factor": "data.x", "ordered": False}, data__x=[1, 2]).ordered
    words = factor({"factor": "data.x", "ordered": True}, data__x=["small", "large"])
    assert words.ordered
    assert dict(words.ranks) == {"small": 0, "large": 1}


def test_a_reference_is_a_level_as_it_is_written() -> None:
    assert factor({"factor": "data.x", "reference": 0.9}, data__x=[0.5, 0.9]).reference == "0.9"
    assert factor({"factor": "data.x", "reference": 1.0}, data__x=[0.5, 1]).reference == "1"
    assert factor({"factor": "data.x", "reference": None}, data__x=[0.5, None]).reference == "null"
    assert factor({"factor": "data.x", "reference": [2]}, data__x=[[1], [2]]).reference == "[2]"


def test_an_option_is_compared_with_what_lacks_the_part() -> None:
    regimes = ["augmentation", "baseline", "sam", "augmentation+sam"]
    found = factor("regimes.sam.rho", regimes, regimes__sam__rho=[0.1, 0.05])
    assert found.levels == ("no sam", "0.1", "0.05")
    assert (found.reference, found.ordered, found.lacking) == ("no sam", True, "no sam")
    assert dict(found.ranks) == {"no sam": 0, "0.05": 1, "0.1": 2}
    assert dict(found.settings) == {
        "augmentation": "augmentation (+sam)",
        "baseline": "baseline (+sam)",
        "sam": "baseline (+sam)",
        "augmentation+sam": "augmentation (+sam)",
    }
    assert found.level("baseline", {"regimes.sam.rho": None}) == "no sam"
    assert found.level("baseline", {"regimes.sam.rho": math.nan}) == "no sam"
    assert found.level("sam", {"regimes.sam.rho": 0.05}) == "0.05"
    alone = factor("regimes.sam.rho", ["sam"], regimes__sam__rho=[0.1, 0.05])
    assert (alone.levels, alone.reference, alone.lacking) == (("0.1", "0.05"), "0.1", None)


def test_regimes_that_differ_in_another_option_keep_settings_of_their_own() -> None:
    regimes = ["baseline", "sam", {"sam": {"adaptive": True}, "label": "asam"}]
    found = factor("regimes.sam.rho", regimes, regimes__sam__rho=[0.1, 0.05])
    assert dict(found.settings) == {"baseline": "baseline", "sam": "sam", "asam": "asam"}


@pytest.mark.parametrize(
    ("compare", "message", "loc"),
    [
        (
            "data.y",
            "the factor 'data.y' is no key of the grid that takes several values; did you mean 'data.x'",
            "factor",
        ),
        ("training.lr", "a factor has several levels, and the grid gives 'training.lr' one value", "factor"),
        ("seed", "'seed' cannot be the factor", "factor"),
        ({"reference": "smm"}, r"the reference 'smm' is no level of regime \(known: baseline, sam", "reference"),
        (
            {"factor": "data.x", "reference": 0.7},
            r"reference 0.7 is no level of data.x; .*known: 0.5, 0.9",
            "reference",
        ),
        ("regimes.sam.rho", "give 'regimes.sam.adaptive' one value, leave out the regimes without 'sam'", "factor"),
    ],
)
def test_a_wrong_name_or_reference_is_one_sentence(compare: Any, message: str, loc: str) -> None:
    grid = {
        **{"data.x": [0.5, 0.9], "training.lr": [0.1]},
        **{"regimes.sam.rho": [1, 2], "regimes.sam.adaptive": [True, False]},
    }
    with pytest.raises(SpecError, match=message) as caught:
        _ = study(grid=grid, compare=compare).factor
    assert caught.value.loc == ("compare", loc)


def test_levels_have_names_of_their_own() -> None:
    sam = [{"sam": {}, "label": "sam"}, {"augmentation": {}, "label": "sam(rho=1)"}]
    with pytest.raises(SpecError, match=r"two levels of regime would have the name 'sam\(rho=1\)'") as caught:
        factor(regimes=sam, regimes__sam__rho=[1, 2])
    assert caught.value.loc == ("regimes",)
    with pytest.raises(SpecError, match=r"two levels of regimes.sam.x would have the name 'no sam'"):
        factor("regimes.sam.x", regimes__sam__x=["a", "no sam"])
    for values in ([0.1, "0.1"], [None, "null"], [[1], "[1]"]):
        with pytest.raises(SpecError, match=r"grid.data.x holds a value twice"):
            factor("data.x", data__x=values)


@pytest.mark.parametrize("compare", [3, None, ["regime"], {"factors": "regime"}, {"factor": 1}, {"ordered": "maybe"}])
def test_a_wrong_form_is_refused(compare: Any) -> None:
    with pytest.raises(SpecError, match=r"compare|unknown key 'factors' in compare; did you mean 'factor'"):
        study(compare=compare)


@pytest.mark.parametrize(
    "compare",
    ["regime", "data.x", {"factor": "data.x", "reference": None}, {"factor": "regimes.sam.rho", "ordered": False}],
)
def test_what_is_compared_survives_being_written_in_full(compare: Any) -> None:
    whole = study(grid={"data.x": [0.5, None], "regimes.sam.rho": [1, 2]}, compare=compare)
    assert validated(Study, json.loads(whole.model_dump_json())).factor == whole.factor
    full = whole.model_copy(update={"compare": whole.factor.written(whole.grid)})
    assert validated(Study, json.loads(full.model_dump_json())).factor == whole.factor
    assert set(full.model_dump()["compare"]) == {"factor", "reference", "ordered"}


def test_what_is_compared_changes_no_run() -> None:
    grid = {"data.x": [0.5, 0.9]}
    ids = [[p.run.id for p in study(grid=grid, compare=c).expand()] for c in ("regime", "data.x")]
    assert ids[0] == ids[1]


def test_levels_in_a_sentence() -> None:
    by_key = factor({"factor": "regimes.sam.rho", "reference": 0.1}, regimes__sam__rho=[0.05, 0.1])
    assert by_key.told("0.05") == "regimes.sam.rho 0.05"
    assert by_key.told("0.05", "0.1") == "regimes.sam.rho 0.05 and 0.1"
    assert by_key.told("no sam", "0.05", "0.1") == "no sam, regimes.sam.rho 0.05 and 0.1"
    assert [by_key.counted(n) for n in (1, 3)] == ["1 level of regimes.sam.rho", "3 levels of regimes.sam.rho"]
    regimes = factor()
    assert regimes.told("baseline", "sam") == "baseline and sam"
    assert [regimes.counted(n) for n in (1, 2)] == ["1 regime", "2 regimes"]


def test_words_are_told_once_what_they_are_levels_of_and_numbers_always() -> None:
    words = factor("data.function", data__function=["sphere", "booth", "beale"])
    assert words.told("booth", "beale") == "data.function booth and beale"
    assert words.told("booth", "beale", again=True) == "booth and beale"
    assert factor("data.factor", data__factor=[0.5, 0.7]).told("0.7", again=True) == "data.factor 0.7"
    switch = factor("data.standardize", data__standardize=[True, False])
    assert switch.told("false", again=True) == "data.standardize false"
