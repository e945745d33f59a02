"""What goes wrong while a training is watched is told, and stops nothing; a wrong call is refused at once."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.monitor.networks import CHEAP, DEFAULT, X, Y, linear, network
from torch import nn

from sharpscope import SharpnessMonitor
from sharpscope.curvature.measure import MEASURES
from sharpscope.curvature.passes.reductions import GradientSum
from sharpscope.errors import SharpscopeError, SpecError

NORM_OF_BATCH = "normalizes by the statistics of each batch"


def test_what_is_not_defined_is_noted_and_warned_of_once() -> None:
    headless = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.LogSoftmax(dim=1))
    monitor = SharpnessMonitor((X, Y), ["parameter_norm", "relative_flatness", "head_norm"], every=1)
    with pytest.warns(UserWarning, match=r"not measured at step 0: relative_flatness, head_norm: .*not linear") as told:
        found = monitor.step(headless, 0)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert found is not None
    assert list(found) == ["parameter_norm"]
    monitor.step(headless, 1)
    rows = monitor.to_frame().set_index(["step", "key"])
    assert len(rows) == 6
    assert math.isnan(rows.loc[(1, "head_norm"), "value"])
    assert "return logits rather than probabilities" in rows.loc[(1, "head_norm"), "reason"]
    assert not rows.loc[(1, "head_norm"), "converged"]


def test_defaults_that_are_not_defined_are_left_out() -> None:
    headless = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.LogSoftmax(dim=1))
    monitor = SharpnessMonitor((X, Y), every=1)
    with pytest.warns(UserWarning, match="left out of the default measures: .*relative_flatness"):
        monitor.step(headless, 0)
    monitor.step(headless, 1)
    keys = list(monitor.to_frame(wide=True).columns)
    assert "gradient_norm" in keys
    assert "relative_flatness" not in keys
    assert not monitor.to_frame()["value"].isna().any()


def test_a_measure_that_raises_does_not_take_the_others_with_it() -> None:
    asked = {**dict.fromkeys(CHEAP), "bad": {"measure": "distance_from_init", "init": "missing.safetensors"}}
    monitor = SharpnessMonitor((X, Y), asked, every=1)
    with pytest.warns(UserWarning, match="not measured at step 0: bad: the initialization 'missing.safetensors'"):
        monitor.step(linear(), 0)
    monitor.step(linear(), 1)
    rows = monitor.to_frame().set_index(["step", "key"])
    assert not rows.loc[(1, "gradient_norm"), "reason"]
    assert rows.loc[(1, "bad"), "reason"].startswith("the initialization 'missing.safetensors' cannot be read")


def test_a_model_that_cannot_be_measured_stops_no_training() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(16, 3))
    monitor = SharpnessMonitor((X, Y), CHEAP, every=1)
    with pytest.warns(UserWarning, match=NORM_OF_BATCH) as told:
        assert not monitor.step(model, 0)
    assert len(told) == 1
    assert not monitor.step(model, 1)
    assert monitor.to_frame()["reason"].str.contains(NORM_OF_BATCH).sum() == 4
    found = monitor.step(linear(), 2)
    assert found is not None
    assert list(found) == CHEAP


@pytest.mark.parametrize("error", [torch.linalg.LinAlgError, torch.OutOfMemoryError])
def test_numerics_and_memory_that_fail_stop_no_training(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(self: Any, evaluation: Any) -> None:
        raise error("too much")

    monkeypatch.setattr(GradientSum, "update", fail)
    monitor = SharpnessMonitor((X, Y), CHEAP, every=1)
    told = f"{error.__name__}: too much"
    with pytest.warns(UserWarning, match=f"not measured at step 0: gradient_norm: {told}"):
        monitor.step(linear(), 0)
    monitor.step(linear(), 1)
    rows = monitor.to_frame().set_index(["step", "key"])["reason"]
    assert rows.to_dict() == {(s, k): told * (k == "gradient_norm") for s in (0, 1) for k in CHEAP}


class EvalFails(nn.Module):
    """A network whose eval mode, which no training step sees, has a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.body = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise KeyError("pixel_values")
        return self.body(x)


def forward_that_fails(model: nn.Module, inputs: Any) -> Any:
    raise KeyError("pixel_values")


def loss_that_fails(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise KeyError("pixel_values")


@pytest.mark.parametrize("measures", [CHEAP, None], ids=["asked for", "default"])
@pytest.mark.parametrize(
    ("model", "arguments", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), {}, "RuntimeError: mat1 and mat2"),
        (EvalFails(), {}, "KeyError: 'pixel_values'"),
        (linear(), {"forward": forward_that_fails}, "KeyError: 'pixel_values'"),
        (linear(), {"loss": loss_that_fails}, "the loss failed .*pixel_values"),
        (linear(), {"head": "nope"}, "the head given, 'nope', is no linear layer"),
        (nn.Linear(16, 3, device="meta"), {}, "is on the meta device"),
        (nn.Flatten(), {}, "has no parameters"),
    ],
    ids=["shape", "eval mode", "forward", "loss", "head", "meta", "no parameters"],
)
def test_a_model_that_fails_while_it_is_measured_stops_no_training(
    model: nn.Module, arguments: dict[str, Any], reason: str, measures: list[str] | None
) -> None:
    monitor = SharpnessMonitor((X, Y), measures, every=1, **arguments)
    with pytest.warns(UserWarning, match=f"not measured at step 0: .*{reason}") as told:
        assert monitor.step(model.train(), 0) is not None
    assert len(told) == 1
    assert model.training
    monitor.step(model, 1)
    rows = monitor.to_frame()
    assert list(rows["step"]) == [s for s in (0, 1) for _ in measures or DEFAULT]
    assert rows["value"][rows["key"] == "gradient_norm"].isna().all()


def test_what_on_record_raises_stops_no_training() -> None:
    def full(step: int, found: Any) -> None:
        raise OSError(28, "No space left on device", "sharpness.csv")

    monitor = SharpnessMonitor((X, Y), CHEAP, every=1, on_record=full)
    with pytest.warns(
        UserWarning, match=r"on_record failed at step 0: No space left on device: sharpness\.csv"
    ) as told:
        assert monitor.step(linear(), 0)
    assert told[0].filename == __file__


def test_an_interruption_comes_through() -> None:
    def interrupted(model: nn.Module, inputs: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SharpnessMonitor((X, Y), CHEAP, forward=interrupted).step(linear(), 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_model_stops_no_training(bad: float) -> None:
    model = network()
    nn.init.constant_(model[0].weight, bad)
    every_measure = {name: {"draws": 4} if "draws" in MEASURES[name].defaults else {} for name in MEASURES}
    monitor = SharpnessMonitor((X, Y), every_measure, subset=8, init=network().state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the failures, which other tests are about
        monitor.step(model, 0)
    rows = monitor.to_frame().set_index("key")
    assert set(rows.index) == set(MEASURES)
    # All but what depends on the head's weight alone.
    others = rows.drop("head_norm")
    assert not others["converged"].any()
    assert (others["reason"] != "").all()
    assert not np.isfinite(others["value"].drop("pac_bayes_flatness")).any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"measures": ["margn"]}, SpecError, "did you mean 'margin'"),
        ({"every": 0}, SharpscopeError, "every must be at least 1"),
        ({"subset": 0}, SharpscopeError, "subset must be at least 1"),
        ({"max_overhead": 5}, SharpscopeError, "max_overhead must be a number between 0 and 1"),
        ({"max_overhead": "x"}, SharpscopeError, "max_overhead must be a number between .* got 'x'"),
        ({"data": iter([(X, Y)])}, SharpscopeError, "re-iterable"),
        ({"data": []}, SharpscopeError, "the data has no samples"),
        ({"every": 1.5}, SharpscopeError, "every must be a whole number, got 1.5"),
        ({"every": True}, SharpscopeError, "every must be a whole number, got True"),
        ({"every": math.nan}, SharpscopeError, "every must be a whole number, got nan"),
        ({"every": "10"}, SharpscopeError, "every must be a whole number, got '10'"),
        ({"seed": "a"}, SharpscopeError, "seed must be a whole number, got 'a'"),
        ({"seed": 1.5}, SharpscopeError, "seed must be a whole number, got 1.5"),
        ({"loss": "x"}, SharpscopeError, "unknown loss 'x'"),
        ({"loss": 3}, SharpscopeError, "loss must be 'cross_entropy', 'mse' or a callable, got int"),
        ({"forward": 3}, SharpscopeError, "forward must be a callable"),
        ({"rtol": -1}, SharpscopeError, "rtol must be a positive number, got -1"),
        ({"head": 3}, SharpscopeError, "head must be a linear layer .* or its name, got int"),
        ({"init": 3}, SharpscopeError, "init must be a mapping of names to tensors, .* got int"),
        ({"init": linear()}, SharpscopeError, "init must be a mapping of names to tensors, .* got Sequential"),
        ({"on_record": 3}, SharpscopeError, "on_record must be a callable"),
    ],
)
def test_refuses_before_the_training_begins(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SharpnessMonitor(**{"data": (X, Y), **arguments})


@pytest.mark.parametrize("call", ["step", "record"])
@pytest.mark.parametrize(
    ("model", "step", "message"),
    [
        (None, 0, "the model must be a torch.nn.Module, got NoneType"),
        (linear(), "0", "step must be a whole number, got '0'"),
        (linear(), None, "step must be a whole number, got None"),
        (linear(), -10, "step must be at least 0, got -10"),
    ],
)
def test_refuses_a_step_that_is_none(call: str, model: Any, step: Any, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        getattr(SharpnessMonitor((X, Y), CHEAP, every=1), call)(model, step)


@pytest.mark.parametrize("state", [{}, None, {"rows": [(1, 2)]}, {"rows": [], "overhead": {}}])
def test_refuses_a_state_of_something_else_and_keeps_its_own(state: Any) -> None:
    monitor = SharpnessMonitor((X, Y), CHEAP, every=1)
    monitor.step(linear(), 0)
    before = monitor.state_dict()
    with pytest.raises(SharpscopeError, match=r"the state must be what state_dict\(\) of a SharpnessMonitor returned"):
        monitor.load_state_dict(state)
    assert monitor.state_dict() == before
