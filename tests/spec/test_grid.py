"""Options of regimes in the grid: each sets the part where it is, and multiplies no regime without it."""

from __future__ import annotations

from typing import Any

import pytest

from sharpscope.errors import SpecError
from sharpscope.spec import Study, validated

WRITTEN: dict[str, Any] = {"name": "s", "data": "digits", "model": "mlp"}


def study(regimes: list[Any], **grid: Any) -> Study:
    keys = {key.replace("__", "."): values for key, values in grid.items()}
    return validated(Study, {**WRITTEN, "regimes": regimes, "grid": keys})


def test_an_option_is_set_wherever_the_part_is_and_multiplies_nothing_else() -> None:
    points = study(["baseline", "sam", "augmentation+sam"], regimes__sam__rho=[0.05, 0.1], seed=2).expand()
    found = [(p.run.seed, p.run.regime.label, p.coordinates["regimes.sam.rho"]) for p in points]
    one_seed = [
        ("baseline", None),
        *(("sam", 0.05), ("sam", 0.1)),
        *(("augmentation+sam", 0.05), ("augmentation+sam", 0.1)),
    ]
    assert found == [(seed, *cell) for seed in (0, 1) for cell in one_seed]
    assert len({p.run.id for p in points}) == len(points)
    assert [p.described("seed 1") for p in points[5:7]] == ["baseline, seed 1", "sam, seed 1, regimes.sam.rho = 0.05"]


def test_runs_are_those_of_regimes_that_are_written_out() -> None:
    written = [{"sam": {"rho": rho, "adaptive": True}} for rho in (0.05, 0.1)]
    both = [{"augmentation": {}, "sam": {"rho": rho, "adaptive": True}} for rho in (0.05, 0.1)]
    plain = study(["baseline", *written, *both], training__lr=[0.1, 0.2], seed=2)
    regimes = ["baseline", {"sam": {"adaptive": True}, "label": "s"}, "augmentation+sam"]
    varied = study(
        regimes, training__lr=[0.1, 0.2], regimes__sam__rho=[0.05, 0.1], regimes__sam__adaptive=[True], seed=2
    )
    assert [p.run.id for p in varied.expand()] == [p.run.id for p in plain.expand()]
    assert varied.varying == ["training.lr", "regimes.sam.rho"]


def test_several_options_are_multiplied_where_they_are_together() -> None:
    regimes = ["baseline", "sam", "weight_decay", "sam+weight_decay"]
    whole = study(regimes, regimes__sam__rho=[1, 2], regimes__weight_decay__value=[3, 4, 5], seed=[7])
    labels = [p.run.regime.label for p in whole.expand()]
    assert [labels.count(label) for label in regimes] == [1, 2, 3, 6]


def test_only_runs_that_there_are_count_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="the grid has 100091 runs, and a study has at most 100000"):
        study(["baseline", "sam"], regimes__sam__rho=list(range(1, 101)), seed=991)
    monkeypatch.setattr("sharpscope.spec.study.MOST_RUNS", 1000)
    assert len(study(["baseline", "sam"], regimes__sam__rho=list(range(1, 101)), seed=9).expand()) == 909
    with pytest.raises(SpecError, match="the grid has 1010 runs"):
        study(["baseline", "sam"], regimes__sam__rho=list(range(1, 101)), seed=10)


def test_nothing_in_the_column_of_an_option_means_that_the_part_is_lacking() -> None:
    points = study(["baseline", "sam"], regimes__sam__rho=[None, 0.1]).expand()
    assert [p.coordinates["regimes.sam.rho"] for p in points] == [None, "null", "0.1"]
    assert [p.run.regime.parts[0].options for p in points[1:]] == [{"rho": None}, {"rho": 0.1}]
    points = study(["baseline", "sam"], regimes__sam__layers=[[1], [1, 2]]).expand()
    assert [p.coordinates["regimes.sam.layers"] for p in points] == [None, "[1]", "[1, 2]"]


def test_options_within_options_are_reached_and_the_study_stays_as_it_is() -> None:
    whole = study([{"mine": {"inner": {"a": 1, "b": 2}}, "label": "mine"}], regimes__mine__inner__a=[3, 4])
    before = whole.model_dump_json()
    options = [p.run.regime.parts[0].options for p in whole.expand()]
    assert options == [{"inner": {"a": 3, "b": 2}}, {"inner": {"a": 4, "b": 2}}]
    assert whole.model_dump_json() == before


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("regimes.sma.rho", "no regime of the study has the part 'sma'; did you mean 'sam'"),
        ("regimes.sam", "the grid key 'regimes.sam' names no option; .* as in regimes.sam.rho"),
        ("regimes..rho", "names no option"),
        ("regimes.sam.", "names no option"),
        ("regime.sam.rho", "names nothing that varies; did you mean 'regimes"),
        ("regimes.weight_decay.value", r"which the regime 'weight_decay\(value=0.1\)' gives in its name; take it out"),
    ],
)
def test_a_mistake_is_told_with_the_key(key: str, message: str) -> None:
    whole = study(["sam", {"weight_decay": {"value": 0.1}}], **{key.replace(".", "__"): [0.1, 0.2]})
    with pytest.raises(SpecError, match=message) as caught:
        whole.expand()
    assert caught.value.loc == ("grid", key)


def test_an_option_that_has_no_parts_is_told() -> None:
    with pytest.raises(SpecError, match=r"'regimes.sam.rho.x' leads into rho, which is 0.1 and has no parts"):
        study([{"sam": {"rho": 0.1}, "label": "s"}], regimes__sam__rho__x=[1, 2]).expand()
