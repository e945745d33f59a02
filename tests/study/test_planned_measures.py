"""Measures that no run could have are refused when a study is planned, not once it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpscope.curvature.passes import Evaluator
from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.study.planning.plan import Plan


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ({"relative_flatness": {"layer": "hed"}}, "no linear or convolutional layer is called 'hed'"),
        (
            {"relative_flatness": {"layer": "all", "variant": "max_eigenvalue"}},
            "variant='max_eigenvalue' exists for the head only; leave out layer or variant",
        ),
        ({"hessian_top_eigenvalue": {"k": 50, "budget": 10}}, "budget must be at least k, got k=50 and budget=10"),
        ({"distance_from_init": {"init": "nowhere.safetensors"}}, "nowhere.safetensors"),
    ],
)
def test_options_that_do_not_go_together_with_each_other_or_the_model_are_refused(
    measure: dict[str, Any], message: str, plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (name,) = measure
    with pytest.raises(SpecError, match=f"has no '{name}': .*{message}"):
        plan_of(measures=measure)


def test_what_is_wrong_with_numbers_alone_is_left_to_the_run(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise SharpscopeError("these weights are no good")

    monkeypatch.setattr(Evaluator, "run", broken)
    assert list(plan_of(measures=["gradient_norm"]).requested.measures) == ["gradient_norm"]


def test_a_measure_is_tried_for_one_pass_only_and_may_fail_otherwise(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    original = Evaluator.run

    def counted(self: Evaluator, requests: Any, on_failure: Any) -> None:
        passes.append(len(requests))
        original(self, requests, on_failure)

    monkeypatch.setattr(Evaluator, "run", counted)
    plan = plan_of(measures=["hessian_trace", "pac_bayes_flatness"])
    assert list(plan.requested.measures) == ["hessian_trace", "pac_bayes_flatness"]
    assert len(passes) == 1

    def broken(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Evaluator, "run", broken)
    assert list(plan_of().requested.measures) == ["relative_flatness", "gradient_norm"]
