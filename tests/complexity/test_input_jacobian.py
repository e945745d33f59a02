"""Jacobians in the input: equal to brute force, unbiased by projections, with intervals that cover."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import CASES, CLASSES, SPLITS, Case
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.complexity.input_jacobian import frobenius
from sharpscope.errors import SharpscopeError

WIDE = 24


def brute_force(case: Case) -> tuple[Tensor, Tensor]:
    """Return the Jacobians of logits and probabilities, each ``[N, C, inputs]``, one sample at a time."""
    model = case.model().eval()
    logits, probabilities = [], []
    for inputs in case.data((1,) * 12):
        if case.mapping:
            fixed, moving = inputs["input_ids"], inputs["mask"]
            function = lambda mask, ids=fixed: model(ids, mask).logits.squeeze(0)
        else:
            moving = inputs[0]
            function = lambda x: model(x).squeeze(0)
        J = torch.autograd.functional.jacobian(function, moving).reshape(CLASSES, -1)
        p = function(moving).detach().softmax(dim=0)
        logits.append(J)
        probabilities.append((torch.diag(p) - torch.outer(p, p)) @ J)
    return torch.stack(logits), torch.stack(probabilities)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_exact_values_equal_brute_force(case: Case) -> None:
    logits, probabilities = brute_force(case)
    asked = {
        "probabilities": {"measure": "input_jacobian_norm"},
        "logits": {"measure": "input_jacobian_norm", "outputs": "logits"},
        "energy": {"measure": "geometric_complexity", "method": "exact"},
        "all_directions": {"measure": "geometric_complexity", "method": "projection", "projections": CLASSES},
    }
    for split in SPLITS:
        found = measure(case.model(), case.data(split), asked)
        assert found["probabilities"].value == pytest.approx(float(probabilities.norm(dim=(1, 2)).mean()), rel=1e-9)
        assert found["logits"].value == pytest.approx(float(logits.norm(dim=(1, 2)).mean()), rel=1e-9)
        assert found["energy"].value == pytest.approx(float(logits.square().sum(dim=(1, 2)).mean()), rel=1e-9)
        assert found["all_directions"].value == pytest.approx(found["energy"].value, rel=1e-9)
        assert all(e.stderr == 0 and e.samples == 12 for e in found.values())


def wide_model() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, WIDE)).double()
    x = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    return model, (x, torch.zeros(10, dtype=torch.long))


@pytest.mark.parametrize("name", ["geometric_complexity", "input_jacobian_norm"])
def test_projections_are_unbiased_and_their_intervals_cover(name: str) -> None:
    model, data = wide_model()
    exact = measure(model, data, {name: {"method": "exact"}})[name].value
    draws = [
        measure(model, data, {name: {"method": "projection", "projections": 4}}, seed=seed)[name] for seed in range(150)
    ]
    values = torch.tensor([e.value for e in draws])
    spread = float(values.std())
    assert abs(float(values.mean()) - exact) < 3 * spread / math.sqrt(len(draws)) + 0.002 * exact
    stated = math.sqrt(sum(e.stderr**2 for e in draws) / len(draws))
    assert stated == pytest.approx(spread, rel=0.2)
    covered = sum(abs(e.value - exact) < 1.96 * e.stderr for e in draws) / len(draws)
    assert 0.85 < covered < 0.99


@pytest.mark.parametrize(("count", "most"), [(4, 0.006), (8, 0.0015)])
def test_the_root_keeps_the_bias_that_is_stated_where_it_is_largest(count: int, most: float) -> None:
    """A Jacobian of rank one in a large output space: its projections are squared normals."""
    normal = torch.randn(count, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    classes = 10**9
    corrected, _ = frobenius(normal.square() / classes, classes, root=True)
    plain = (normal.square().mean(dim=0)).sqrt()
    assert abs(float(corrected.mean()) - 1) < most
    assert float(plain.mean()) < 1 - 1 / (5 * count)


def test_projections_do_not_depend_on_the_split() -> None:
    model, (x, y) = wide_model()
    asked = {"input_jacobian_norm": {"method": "projection", "projections": 5}}
    values = []
    for split in ((10,), (3, 7), (1,) * 10):
        found = measure(model, list(zip(x.split(split), y.split(split), strict=True)), asked)
        values.append(found["input_jacobian_norm"].value)
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-12)


def test_the_precision_asked_is_reached_by_more_projections() -> None:
    model, data = wide_model()
    loose = measure(model, data, ["geometric_complexity"], rtol=0.3)["geometric_complexity"]
    tight = measure(model, data, ["geometric_complexity"], rtol=0.03)["geometric_complexity"]
    exact = measure(model, data, ["geometric_complexity"], rtol=1e-6)["geometric_complexity"]
    assert loose.details["directions"] <= tight.details["directions"] <= exact.details["directions"] == WIDE
    assert tight.stderr <= 0.03 * tight.value
    assert exact.stderr == 0
    assert exact.details["route"] == "exact"


def test_a_linear_model_has_its_weights_norm() -> None:
    model = nn.Linear(5, 3).double()
    data = (torch.randn(7, 5, dtype=torch.float64), torch.zeros(7, dtype=torch.long))
    found = measure(model, data, {"input_jacobian_norm": {"outputs": "logits"}, "geometric_complexity": {}})
    norm = float(model.weight.detach().norm())
    assert found["input_jacobian_norm"].value == pytest.approx(norm, rel=1e-12)
    assert found["geometric_complexity"].value == pytest.approx(norm**2, rel=1e-12)


def test_certain_predictions_keep_their_digits() -> None:
    """One class has all but 1e-9 of the probability: 1 - p must not be taken of a rounded p."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[10.0, 0.0], [-10.0, 0.0]]))
    x = torch.tensor([[1.0, 0.0]])
    found = measure(model, (x, torch.tensor([0])), ["input_jacobian_norm"])["input_jacobian_norm"].value
    # p (1 - p) |w_0 - w_1| in each of two rows, 1 - p = 1 / (1 + e^20).
    small = 1 / (1 + math.exp(20))
    assert found == pytest.approx(math.sqrt(2) * small * (1 - small) * 20, rel=1e-6)


def test_what_cannot_be_differentiated_is_said() -> None:
    model = nn.Sequential(nn.EmbeddingBag(7, 4), nn.Linear(4, 3))
    ids = torch.randint(0, 7, (5, 3))
    with pytest.raises(SharpscopeError, match="floating-point inputs"):
        measure(model, (ids, torch.zeros(5, dtype=torch.long)), ["input_jacobian_norm"])
    scalar = (torch.randn(5, 2), torch.zeros(5))
    with pytest.raises(SharpscopeError, match="at least two outputs"):
        measure(nn.Linear(2, 1), scalar, ["input_jacobian_norm"], loss="mse")
    with pytest.raises(SharpscopeError, match="projections"):
        measure(nn.Linear(2, 2), scalar, {"geometric_complexity": {"projections": 1}})


def test_a_model_may_work_in_place_on_its_input_and_ignore_it() -> None:
    data = (torch.randn(5, 3), torch.zeros(5, dtype=torch.long))
    inplace = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    plain = nn.Sequential(nn.ReLU(), inplace[1])
    found = [measure(m, data, ["geometric_complexity"])["geometric_complexity"].value for m in (inplace, plain)]
    assert found[0] == found[1]

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.expand(len(x), 2)

    assert measure(Blind(), data, ["geometric_complexity"])["geometric_complexity"].value == 0
