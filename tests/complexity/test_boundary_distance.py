"""Distances to the decision boundary: known ones, brute force, and search against the first order."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import CASES, SPLITS, Case
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.errors import SharpscopeError

NAME = "boundary_distance"


class Circle(nn.Module):
    """Two classes, inside and outside of the circle of radius 2, with a curved logit."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        gap = self.radius**2 - x.square().sum(dim=1)
        return torch.stack([gap, torch.zeros_like(gap)], dim=1)


def labels(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.long)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("case", [c for c in CASES if not c.mapping], ids=lambda c: c.name)
def test_the_first_order_is_the_least_over_all_other_classes(case: Case, norm: str) -> None:
    model = case.model().eval()
    expected = []
    for x, _ in case.data((1,) * 12):
        f = model(x).detach().squeeze(0)
        J = torch.autograd.functional.jacobian(lambda z: model(z).squeeze(0), x).reshape(len(f), -1)
        top = int(f.argmax())
        others = [c for c in range(len(f)) if c != top]
        order = 2 if norm == "l2" else 1
        expected.append(min(float((f[top] - f[c]) / (J[top] - J[c]).norm(p=order)) for c in others))
    values = torch.tensor(expected, dtype=torch.float64)
    for split in SPLITS:
        found = measure(case.model(), case.data(split), {NAME: {"norm": norm, "quantile": 0.25}})[NAME]
        assert found.value == pytest.approx(float(values.mean()), rel=1e-9)
        assert found.details["quantile"] == pytest.approx(float(values.quantile(0.25)), rel=1e-9)
        assert found.details["min"] == pytest.approx(float(values.min()), rel=1e-9)
        assert found.stderr == 0


@pytest.mark.parametrize("method", ["first_order", "search"])
def test_a_linear_model_has_its_known_distances(method: str) -> None:
    # Classes 0 and 1 meet where x_0 = 0, at a right angle to the first axis; class 2 is far away.
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.1]]))
        model.bias.copy_(torch.tensor([0.0, 0.0, -100.0]))
    x = torch.tensor([[0.5, 3.0], [-2.0, 1.0], [4.0, -7.0]], dtype=torch.float64)
    for norm in ("l2", "linf"):
        found = measure(model, (x, labels(x)), {NAME: {"norm": norm, "method": method}})[NAME]
        assert found.value == pytest.approx((0.5 + 2.0 + 4.0) / 3, rel=1e-6)
        assert found.details["median"] == pytest.approx(2.0, rel=1e-6)
        assert found.details["unreached"] == 0


def test_norms_differ_as_they_should() -> None:
    """Along the diagonal, the l2 distance to x_0 + x_1 = 0 is sqrt(2) times the linf distance."""
    model = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    for method in ("first_order", "search"):
        asked = {norm: {"measure": NAME, "norm": norm, "method": method} for norm in ("l2", "linf")}
        found = measure(model, (x, labels(x)), asked)
        assert found["l2"].value == pytest.approx(3 / math.sqrt(2), rel=1e-6)
        assert found["linf"].value == pytest.approx(1.5, rel=1e-6)


def test_search_finds_the_circle_that_the_first_order_misses() -> None:
    x = torch.tensor([[0.5, 0.0], [0.0, 1.5], [3.0, 4.0]], dtype=torch.float64)
    first = measure(Circle(), (x, labels(x)), [NAME])[NAME]
    found = measure(Circle(), (x, labels(x)), {NAME: {"method": "search"}})[NAME]
    # First order: |4 - r^2| / (2 r), at r = 0.5, 1.5 and 5.
    assert first.value == pytest.approx((3.75 / 1 + 1.75 / 3 + 21 / 10) / 3, rel=1e-9)
    assert found.value == pytest.approx((1.5 + 0.5 + 3.0) / 3, rel=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_more_directions_never_find_a_farther_boundary(norm: str) -> None:
    case = CASES[2]
    asked = {str(k): {"measure": NAME, "method": "search", "norm": norm, "directions": k} for k in (1, 2, 9)}
    found = measure(case.model(), case.data(), asked)
    assert found["9"].details["min"] <= found["2"].details["min"] <= found["1"].details["min"]
    if not found["1"].details["unreached"]:
        assert found["9"].value <= found["2"].value <= found["1"].value


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name in {"residual", "attention", "mapping"}], ids=lambda c: c.name
)
def test_search_does_not_depend_on_the_split(case: Case) -> None:
    values = [measure(case.model(), case.data(s), {NAME: {"method": "search"}})[NAME].value for s in SPLITS]
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-6)


def test_search_does_not_depend_on_the_split_where_the_first_order_leads_onto_the_boundary() -> None:
    """Networks of ReLUs are linear up to the boundary, and rounding must not tell on which side that point lies."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 4)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    asked = {NAME: {"method": "search"}}
    whole = measure(model, [(x, labels(x))], asked)[NAME]
    alone = measure(model, [(row, labels(row)) for row in x.split(1)], asked)[NAME]
    assert alone.value == pytest.approx(whole.value, rel=1e-12)
    assert alone.details["median"] == pytest.approx(whole.details["median"], rel=1e-12)


def test_samples_without_a_boundary_are_counted_and_left_out() -> None:
    class Half(nn.Module):
        """Linear where the first coordinate is positive, constant elsewhere."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            gap = torch.where(x[:, 0] > 0, self.scale * x[:, 1], 5.0)
            return torch.stack([gap, torch.zeros_like(gap)], dim=1)

    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0]], dtype=torch.float64)
    for method in ("first_order", "search"):
        found = measure(Half(), (x, labels(x)), {NAME: {"method": method}})[NAME]
        assert found.value == pytest.approx(2.0, rel=1e-6)
        assert found.details["unreached"] == 1
        assert not found.converged
    nothing = measure(Half(), (x[1:], labels(x[1:])), [NAME])[NAME]
    assert nothing.value == math.inf
    assert not nothing.converged


def test_a_sample_on_the_boundary_has_distance_zero() -> None:
    model = nn.Linear(2, 2, bias=False).double()
    x = torch.zeros(3, 2, dtype=torch.float64)
    for method in ("first_order", "search"):
        assert measure(model, (x, labels(x)), {NAME: {"method": method}})[NAME].value == 0


def test_one_output_has_no_boundary() -> None:
    with pytest.raises(SharpscopeError, match="at least two outputs"):
        measure(nn.Linear(2, 1), (torch.randn(4, 2), torch.zeros(4)), [NAME], loss="mse")
