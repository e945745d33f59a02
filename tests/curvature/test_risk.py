"""A risk that is no function of the parameters is refused; what it borrows from the model it gives back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.batches import Batches
from sharpscope.curvature.measure import MEASURES
from sharpscope.curvature.risk import Risk
from sharpscope.errors import NotDeterministic, SharpscopeError

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 2
CLOSED = ["gradient_norm", "fisher_rao_norm", "fisher_rao_norm_analytic", "relative_flatness", "margin"]


class AlwaysDropped(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


class StuckInTraining(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> StuckInTraining:
        return super().train(True)


class Counting(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AlwaysDropped(3, 2), "random numbers in eval mode.*dropout"),
        (nn.Sequential(StuckInTraining(3), nn.Linear(3, 2)), "BatchNorm '0'.*each batch"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)), "BatchNorm '0'.*each batch"),
        (Counting(3, 2), "changes its buffer 'calls'"),
    ],
    ids=["dropout", "BatchNorm in train mode", "BatchNorm without statistics", "buffer"],
)
def test_a_model_that_is_no_function_is_refused(model: nn.Module, message: str, name: str) -> None:
    with pytest.raises(NotDeterministic, match=message):
        measure(model, (X, Y), [name])


class Growing:
    """Data with one batch more in every pass."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return iter([(X, Y)] * self.passes)


class Drifting(Growing):
    """Data with other samples in every pass."""

    def __iter__(self) -> Any:
        self.passes += 1
        return iter([(X * self.passes, Y)])


@pytest.mark.parametrize(
    ("data", "message"), [(Growing(), "10 samples.*20"), (Drifting(), "mean loss was .* fixed data")]
)
def test_data_that_changes_between_passes_is_refused(data: Any, message: str) -> None:
    risk = Risk(nn.Linear(3, 2), Batches(data))
    gradient_norm = MEASURES["gradient_norm"]
    gradient_norm(risk)
    with pytest.raises(NotDeterministic, match=message):
        gradient_norm(risk)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda f: f[:, :, None], r"\(10, C\), got \(10, 2, 1\)"),
        (lambda f: f.sum(), r"got \(\)"),
        (lambda f: f.T, r"got \(2, 10\)"),
        (lambda f: "text", "got str"),
        (lambda f: (), "got tuple"),
        (lambda f: {"scores": f}, "got dict"),
    ],
)
def test_outputs_must_be_a_matrix(outputs: Any, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(nn.Linear(3, 2), (X, Y), ["gradient_norm"], forward=lambda model, x: outputs(model(x)))


@pytest.mark.parametrize(
    "outputs",
    [lambda f: (f, None), lambda f: {"logits": f}, lambda f: [f, f], lambda f: type("Out", (), {"logits": f})()],
)
def test_logits_are_taken_from_what_holds_them(outputs: Any) -> None:
    model = nn.Linear(3, 2)
    found = measure(model, (X, Y), CLOSED, forward=lambda model, x: outputs(model(x)))
    expected = measure(model, (X, Y), CLOSED)
    assert {name: e.value for name, e in found.items()} == {name: e.value for name, e in expected.items()}


def test_a_single_output_may_be_a_vector() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    values = X.sum(dim=1)
    found = measure(model, (X, values), ["gradient_norm"], loss="mse")["gradient_norm"]
    residual = 2 * (model(X).detach() - values) / 10
    expected = torch.stack([*(residual @ X), residual.sum()]).norm()
    assert found.value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "message"), [(nn.ReLU(), "ReLU has no parameters"), (nn.LazyLinear(2), "'weight' is not initialized")]
)
def test_a_model_without_parameters_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(model, (X, Y), ["gradient_norm"])


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_rtol_must_be_positive() -> None:
    with pytest.raises(SharpscopeError, match="rtol must be positive"):
        measure(nn.Linear(3, 2), (X, Y), ["gradient_norm"], rtol=0.0)


def test_a_risk_entered_twice_gives_the_mode_back() -> None:
    model = nn.Linear(3, 2).train()
    with Risk(model, Batches((X, Y))) as risk:
        MEASURES["gradient_norm"](risk)
        assert not model.training, "still within the outer context"
    assert model.training


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [*CLOSED, "sam_sharpness"])
def test_a_value_that_is_not_finite_has_not_converged_and_harms_no_other(name: str, broken: float) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = broken
    found = measure(model, (X, Y), {name: {}, "count": {"measure": "parameter_norm"}})
    assert not found[name].converged
    assert "not finite" in found[name].details["reason"]
    assert found["count"].samples == 10


def test_one_class_is_flat_everywhere() -> None:
    """One class only: the loss is 0 everywhere, and so is its curvature."""
    found = measure(nn.Linear(3, 1), (X, torch.zeros(10, dtype=torch.long)), CLOSED[:-1])
    assert all(estimate.value == 0 for estimate in found.values())
    with pytest.raises(SharpscopeError, match=r"margin: .*at least two outputs"):
        measure(nn.Linear(3, 1), (X, torch.zeros(10, dtype=torch.long)), ["margin"])


def test_inputs_that_a_model_overwrites_are_the_users_no_more() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.mul_(2).sub_(1))

    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    data = (x.clone(), torch.tensor([0, 1, 0, 1, 1, 0]))
    model = Overwriting()
    found = measure(model, data, ["fisher_rao_norm", "gradient_norm", "sam_sharpness"])
    assert torch.equal(data[0], x)
    plain = measure(model.head, (x * 2 - 1, data[1]), ["fisher_rao_norm", "gradient_norm", "sam_sharpness"])
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(plain[name].value, rel=1e-5)
