"""Worst-case sharpness against exact optima of quadratics, brute force, and its own invariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases import CASES, SPLITS, Case
from tests.sharpness.quadratics import Quadratic, linear, rescaled, square
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import measure
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.passes.perturbation import GradientAt, Noise, with_normalized_logits
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream
from sharpscope.sharpness.worst_case import worst_case_sharpness

MEASURE = "worst_case_sharpness"
MLP = CASES[0]


def worst(model: nn.Module, data: Any, **options: Any) -> float:
    return measure(model, data, {MEASURE: options})[MEASURE].value


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_one_step_is_that_of_sharpness_aware_minimization(norm: str, adaptive: bool) -> None:
    case, rho = Quadratic.make(), 0.3
    g, scale = case.gradient, np.abs(case.theta) if adaptive else np.ones_like(case.theta)
    unit = np.sign(g) if norm == "linf" else scale * g / np.linalg.norm(scale * g)
    found = worst_case_sharpness(case.risk(), rho=rho, norm=norm, adaptive=adaptive)
    assert found.value == pytest.approx(case.rise(rho * scale * unit), rel=1e-12)
    assert (found.samples, found.converged) == (12, True)
    assert 0 < found.stderr < 1e-14


@pytest.mark.parametrize("curvature", ["convex", "indefinite", "concave"])
@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
def test_many_steps_reach_the_optimum_of_the_trust_region(curvature: str, rho: float) -> None:
    case = Quadratic.make(curvature)
    found = worst_case_sharpness(case.risk(), rho=rho, steps=120)
    assert found.value == pytest.approx(case.largest_rise(rho), rel=1e-6)
    assert found.converged
    assert worst_case_sharpness(case.risk(), rho=rho).value <= found.value


def test_adaptive_steps_reach_the_optimum_in_relative_coordinates() -> None:
    case = Quadratic.make()
    scaled = Quadratic(nn.Linear(6, 1, bias=False).double(), case.x * case.model.weight.detach().abs(), case.signs)
    with torch.no_grad():
        scaled.model.weight.copy_(case.model.weight.sign())
    # L(theta + |theta| u) is a risk of u; its linear term x / 5 is scaled with x too.
    found = worst_case_sharpness(case.risk(), rho=0.7, steps=120, adaptive=True)
    assert found.value == pytest.approx(scaled.largest_rise(0.7), rel=1e-6)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("adaptive", [False, True])
def test_in_the_cube_a_linear_risk_rises_by_the_dual_norm(steps: int, adaptive: bool) -> None:
    case = Quadratic.make("indefinite")
    g = (case.signs[:, None] * case.x).mean(dim=0).numpy()
    found = worst_case_sharpness(case.risk(loss=linear), rho=0.2, steps=steps, norm="linf", adaptive=adaptive)
    expected = 0.2 * np.abs(g * case.theta if adaptive else g).sum()
    assert found.value == pytest.approx(expected, rel=1e-12)


def test_it_is_never_negative() -> None:
    """One step far beyond the maximum of a concave risk ends lower than it began."""
    case = Quadratic.make("concave")
    g = case.gradient
    assert case.rise(50 * g / np.linalg.norm(g)) < 0
    assert worst_case_sharpness(case.risk(), rho=50.0).value == 0.0
    assert worst_case_sharpness(case.risk(), rho=50.0, steps=60).value == pytest.approx(case.largest_rise(50.0))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("curvature", ["convex", "indefinite", "concave"])
def test_ascents_leave_a_point_without_gradient(norm: str, curvature: str) -> None:
    """A minimum, a saddle and a maximum, at which the gradient is exactly zero."""
    case = Quadratic.make(curvature)
    with torch.no_grad():
        case.model.weight.zero_()
    found = worst_case_sharpness(case.risk(loss=square), restarts=4, rho=0.5, steps=120, norm=norm)
    if norm == "l2":
        expected = max(0.0, 0.5**2 * np.linalg.eigvalsh(case.hessian)[-1] / 2)
    else:
        sides = [-0.5, 0.0, 0.5] if curvature == "concave" else [-0.5, 0.5]
        points = np.array(np.meshgrid(*[sides] * 6)).reshape(6, -1)
        expected = max(e @ case.hessian @ e / 2 for e in points.T)
    if curvature == "indefinite" and norm == "linf":
        assert 0.5 * expected < found.value <= expected * (1 + 1e-9), "a corner that is highest among its neighbors"
    else:
        assert found.value == pytest.approx(expected, rel=1e-6)
    assert "gradient at theta is zero" in found.details["reason"]
    alone = worst_case_sharpness(case.risk(loss=square), rho=0.5, steps=120, norm=norm)
    assert curvature == "concave" or 0 < alone.value <= found.value * (1 + 1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e-17])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_one_step_without_a_gradient_is_told(norm: str, offset: float) -> None:
    """Exactly zero, or what rounding leaves of it: the value is the rise at a random point, and says so."""
    case = Quadratic.make()
    with torch.no_grad():
        case.model.weight.fill_(offset)
    above = lambda f, y: 1 + square(f, y)
    values = []
    for seed in range(20):
        found = worst_case_sharpness(case.risk(seed, loss=above), rho=0.5, norm=norm)
        assert not found.converged
        assert "zero within rounding" in found.details["reason"] or "random point" in found.details["reason"]
        values.append(found.value)
    eigenvalues = np.linalg.eigvalsh(case.hessian)
    average = 0.5**2 * eigenvalues.mean() / 2 if norm == "l2" else 0.5**2 * np.trace(case.hessian) / 6
    largest = 0.5**2 * eigenvalues[-1] / 2 if norm == "l2" else math.inf
    assert average < np.mean(values) < largest


@pytest.mark.parametrize("steps", [1, 5])
def test_a_flat_risk_does_not_rise(steps: int) -> None:
    found = worst_case_sharpness(Quadratic.make().risk(loss=lambda f, y: 0 * f.squeeze(1)), steps=steps)
    assert found.value == 0.0
    assert "gradient at theta is zero" in found.details["reason"]


def test_a_point_that_lies_below_the_average_case_is_told() -> None:
    """The gradient leads along a flat valley: 12 samples see the first input, and hardly slope along the second."""
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 1.0]]))
    x = torch.tensor([[10.0, 0.0], [0.0, 1e-3]], dtype=torch.float64).repeat(6, 1)
    risk = lambda: Risk(model, Batches((x, torch.ones(12, dtype=torch.float64))), loss=square)
    # H = diag(100, 1e-6) / 2 and g = (0, 1e-6 / 2): one step of length 0.1 rises by 5e-8, the mean over directions is
    # 0.1^2 * 50 / 4 = 0.125.
    found = worst_case_sharpness(risk(), rho=0.1)
    assert found.details["ends"] == [pytest.approx(5.25e-8, rel=1e-6)]
    assert found.value == found.details["random"] > 1e-3
    assert not found.converged
    assert "random point" in found.details["reason"]
    many = worst_case_sharpness(risk(), rho=0.1, steps=60, restarts=1)
    assert many.value == pytest.approx(0.25, rel=1e-4)  # 0.1^2 * 50 / 2
    assert many.converged


def test_groups_tell_how_many_have_no_gradient() -> None:
    case = Quadratic.make()
    with torch.no_grad():
        case.model.weight.zero_()
    found = worst_case_sharpness(case.risk(loss=square), m=5)
    assert not found.converged
    assert "of 3 groups" in found.details["reason"]


def test_the_details_tell_where_each_ascent_ended() -> None:
    model, data = MLP.model(), MLP.data()
    found = [measure(model, data, {MEASURE: {"rho": 3.0, "restarts": 2}}, seed=seed)[MEASURE] for seed in (0, 1)]
    for estimate in found:
        assert len(estimate.details["ends"]) == 3
        assert max(estimate.details["ends"]) == estimate.value > estimate.details["random"]
    assert found[0].details["ends"][0] == found[1].details["ends"][0] == worst(model, data, rho=3.0)
    assert found[0].details["ends"][1:] != found[1].details["ends"][1:]


def test_a_search_that_still_rises_says_so() -> None:
    case = Quadratic.make("indefinite")
    short = worst_case_sharpness(case.risk(), rho=10.0, steps=2)
    assert not short.converged
    assert short.details["last_gain"] > 0.01


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("logit_normalized", [False, True])
def test_adaptive_sharpness_does_not_see_rescaling(
    per_neuron: bool, steps: int, norm: str, logit_normalized: bool
) -> None:
    model = MLP.model()
    other = rescaled(model, per_neuron=per_neuron)  # type: ignore[arg-type]
    options = {"norm": norm, "steps": steps, "restarts": steps // 2, "logit_normalized": logit_normalized}
    adaptive = [worst(m, MLP.data(), adaptive=True, **options) for m in (model, other)]
    plain = [worst(m, MLP.data(), **options) for m in (model, other)]
    assert adaptive[0] == pytest.approx(adaptive[1], rel=1e-9)
    assert plain[0] != pytest.approx(plain[1], rel=1e-2)


def test_normalized_logits_hide_their_scale() -> None:
    model, data = MLP.model(), MLP.data()
    loud = lambda m, x: 7 * m(x)
    for options in ({}, {"steps": 3}):
        hidden = measure(model, data, {MEASURE: {"logit_normalized": True, **options}}, forward=loud)[MEASURE].value
        seen = measure(model, data, {MEASURE: options}, forward=loud)[MEASURE].value
        assert hidden == pytest.approx(worst(model, data, logit_normalized=True, **options), rel=1e-9)
        assert seen > 2 * worst(model, data, **options)


def test_one_step_with_normalized_logits_equals_brute_force() -> None:
    model = MLP.model().eval()
    x, y = (torch.cat(part) for part in zip(*MLP.data(), strict=True))

    def risk(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        f = torch.func.functional_call(model, parameters, (x,))
        spread = ((f - f.mean(dim=1, keepdim=True)) ** 2).mean(dim=1, keepdim=True).sqrt()
        return F.cross_entropy(f / spread, y)

    theta = {name: p.detach() for name, p in model.named_parameters()}
    g = torch.func.grad(risk)(theta)
    length = math.sqrt(sum(float(v.square().sum()) for v in g.values()))
    moved = {name: p + 0.05 / length * g[name] for name, p in theta.items()}
    expected = float(risk(moved) - risk(theta))
    assert worst(model, MLP.data(), logit_normalized=True) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("m", [1, 5, 12, 100])
def test_groups_follow_the_samples_and_not_the_batches(m: int) -> None:
    x, y = (torch.cat(part) for part in zip(*MLP.data(), strict=True))
    options = {"steps": 2, "rho": 0.1}
    parts = [(x[i : i + m], y[i : i + m]) for i in range(0, 12, m)]
    expected = sum(len(p[1]) * worst(MLP.model(), p, **options) for p in parts) / 12
    for split in SPLITS:
        found = measure(MLP.model(), MLP.data(split), {MEASURE: {"m": m, **options}})[MEASURE]
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert (found.details["groups"], found.samples) == (len(parts), 12)


@pytest.mark.parametrize("case", [CASES[3], CASES[11]], ids=lambda c: c.name)
def test_groups_and_restarts_do_not_depend_on_the_split(case: Case) -> None:
    options = {"m": 5, "steps": 3, "restarts": 2, "rho": 0.1}
    values = [worst(case.model(), case.data(split), **options) for split in SPLITS]
    assert values == pytest.approx([values[0]] * len(SPLITS), rel=1e-9)


def test_a_smaller_group_has_the_larger_maximum() -> None:
    values = [worst(MLP.model(), MLP.data(), m=m, steps=10) for m in (1, 4, 12)]
    assert values == sorted(values, reverse=True)


def test_a_loader_that_shuffles_makes_no_difference() -> None:
    x, y = (torch.cat(part) for part in zip(*MLP.data(), strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True)
    options = {"steps": 3, "restarts": 1}
    assert worst(MLP.model(), loader, **options) == pytest.approx(worst(MLP.model(), (x, y), **options), rel=1e-9)


def test_it_shares_the_gradient_at_theta() -> None:
    calls = 0

    def counted(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return model(x)

    measure(MLP.model(), MLP.data((12,)), [MEASURE, "gradient_norm"], forward=counted)
    looks = 3  # without gradients, at other parameters too, and with gradients
    assert calls == looks + 5, "one gradient, and forward passes at theta, at the point found and at two random points"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradients_at_a_perturbation_equal_autograd(case: Case) -> None:
    model = case.model()
    point = Noise(0.1, Stream(4))
    for normalized in (False, True):
        risk = Risk(model, Batches(case.data()))
        loss = with_normalized_logits(risk.loss) if normalized else None
        reduction = GradientAt(point, loss)
        with risk:
            Evaluator(risk).run({"": [reduction]})
            moved = {k: v.requires_grad_() for k, v in point.apply(risk.parameters).items()}
            values = (loss or risk.loss).values
            total = sum(values(risk.outputs(b, moved), b.targets).sum() for b in risk) / 12
            base = sum(values(risk.outputs(b), b.targets).sum() for b in risk) / 12
            expected = torch.autograd.grad(total, list(moved.values()), allow_unused=True)
        assert reduction.difference == pytest.approx(float((total - base).detach()), rel=1e-9)
        for name, gradient in zip(moved, expected, strict=True):
            wanted = torch.zeros_like(moved[name]) if gradient is None else gradient
            torch.testing.assert_close(reduction.value[name], wanted, rtol=1e-8, atol=1e-12)


def test_a_risk_that_overflows_is_not_converged() -> None:
    found = measure(MLP.model(), MLP.data(), {MEASURE: {"rho": 1e120, "steps": 3}})[MEASURE]
    assert not math.isfinite(found.value)
    assert not found.converged


@pytest.mark.parametrize("options", [{"rho": 0.0}, {"steps": 0}, {"restarts": -1}, {"m": 0}, {"norm": "l1"}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SharpscopeError, match=next(iter(options))):
        worst(MLP.model(), MLP.data(), **options)


def test_one_output_cannot_be_normalized() -> None:
    case = Quadratic.make()
    with pytest.raises(SharpscopeError, match="at least two outputs"):
        worst_case_sharpness(case.risk(), logit_normalized=True)
