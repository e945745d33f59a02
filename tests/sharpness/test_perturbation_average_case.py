"""Average-case sharpness and Monte Carlo in rounds: means, standard errors and precision against known truths."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS
from tests.sharpness.quadratics import Quadratic, rescaled
from torch.nn import functional as F

from sharpscope import Estimate, measure
from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators.sequential_sampling import draw_rounds, further_draws
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import SharpscopeError
from sharpscope.sharpness.average_case import average_case_sharpness
from sharpscope.sharpness.sam import sam_sharpness

MEASURE = "average_case_sharpness"
MLP = CASES[0]
SEEDS = 100


def average(model: torch.nn.Module, data: Any, **options: Any) -> Estimate:
    return measure(model, data, {MEASURE: options})[MEASURE]


@pytest.mark.parametrize("curvature", ["convex", "indefinite"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_on_a_quadratic_it_is_half_the_trace_with_the_right_error(curvature: str, adaptive: bool) -> None:
    """E e H e / 2 = rho^2 tr(H) / (2 P), of variance rho^4 |H|_F^2 / (2 P^2) for a pair, whatever the gradient."""
    case, rho, draws = Quadratic.make(curvature), 2.0, 12
    scale = np.abs(case.theta) if adaptive else np.ones(6)
    H = scale[:, None] * case.hessian * scale
    truth = rho**2 * np.trace(H) / (2 * 6)
    deviation = rho**2 * np.linalg.norm(H) / 6 / math.sqrt(2 * draws)
    found = [average_case_sharpness(case.risk(seed), rho=rho, draws=draws, adaptive=adaptive) for seed in range(SEEDS)]
    values = np.array([e.value for e in found])
    assert abs(values.mean() - truth) < 4 * deviation / math.sqrt(SEEDS)
    assert values.std(ddof=1) == pytest.approx(deviation, rel=0.25)
    covered = np.mean([abs(e.value - truth) <= 2 * e.stderr for e in found])
    assert 0.85 <= covered <= 0.99
    assert found[0].samples == 12


@pytest.mark.parametrize("adaptive", [False, True])
def test_in_the_cube_entries_are_uniform(adaptive: bool) -> None:
    """With entries u_i rho of variance rho^2 / 3 and fourth moment rho^4 / 5, E u H u / 2 = rho^2 tr(H) / 6."""
    case, rho, draws = Quadratic.make("indefinite"), 0.8, 12
    scale = rho * (np.abs(case.theta) if adaptive else np.ones(6))
    H = scale[:, None] * case.hessian * scale
    diagonal = np.square(np.diag(H)).sum()
    variance = (diagonal * (1 / 5 - 1 / 9) + 2 / 9 * (np.square(H).sum() - diagonal)) / 4
    found = [
        average_case_sharpness(case.risk(seed), rho=rho, draws=draws, adaptive=adaptive, norm="linf")
        for seed in range(SEEDS)
    ]
    values = np.array([e.value for e in found])
    deviation = math.sqrt(variance / draws)
    assert abs(values.mean() - np.trace(H) / 6) < 4 * deviation / math.sqrt(SEEDS)
    assert values.std(ddof=1) == pytest.approx(deviation, rel=0.25)


def test_for_small_rho_it_is_the_trace_of_the_hessian() -> None:
    case = CASES[2]
    with Risk(case.model(), Batches(case.data())) as risk:
        H = dense.hessian(risk).detach()
    rho, P = 0.003, len(H)
    found = average(case.model(), case.data(), rho=rho, draws=300)
    truth = rho**2 * float(H.trace()) / (2 * P)
    assert abs(found.value - truth) < 4 * found.stderr
    assert found.stderr == pytest.approx(rho**2 * float(H.norm()) / P / math.sqrt(2 * 300), rel=0.2)


def test_with_normalized_logits_it_equals_a_hand_loop_over_other_draws() -> None:
    model = MLP.model().eval()
    x, y = (torch.cat(part) for part in zip(*MLP.data(), strict=True))
    names = [name for name, _ in model.named_parameters()]
    theta = [p.detach() for p in model.parameters()]
    P = sum(p.numel() for p in theta)
    generator = torch.Generator().manual_seed(99)

    def risk(parameters: list[torch.Tensor]) -> float:
        f = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))
        f = f / ((f - f.mean(dim=1, keepdim=True)) ** 2).mean(dim=1, keepdim=True).sqrt()
        return float(F.cross_entropy(f, y).detach())

    pairs = []
    for _ in range(200):
        eps = [0.5 / math.sqrt(P) * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in theta]
        ends = [risk([p + sign * e for p, e in zip(theta, eps, strict=True)]) for sign in (1, -1)]
        pairs.append(sum(ends) / 2 - risk(theta))
    expected = mean_of(pairs, 12)
    found = average(model, MLP.data(), rho=0.5, draws=200, logit_normalized=True)
    assert abs(found.value - expected.value) < 4 * math.hypot(found.stderr, expected.stderr)
    assert found.stderr == pytest.approx(expected.stderr, rel=0.3)
    plain = average(model, MLP.data(), rho=0.5, draws=200)
    assert abs(found.value - plain.value) > 3 * math.hypot(found.stderr, plain.stderr)


@pytest.mark.parametrize("per_neuron", [False, True])
def test_adaptive_sharpness_does_not_see_rescaling(per_neuron: bool) -> None:
    model = MLP.model()
    other = rescaled(model, per_neuron=per_neuron)  # type: ignore[arg-type]
    adaptive = [average(m, MLP.data(), adaptive=True, draws=8).value for m in (model, other)]
    plain = [average(m, MLP.data((12,)), draws=300) for m in (model, other)]
    assert adaptive[0] == pytest.approx(adaptive[1], rel=1e-7)
    assert abs(plain[0].value - plain[1].value) > 3 * math.hypot(plain[0].stderr, plain[1].stderr)


def test_it_does_not_depend_on_the_split() -> None:
    values = [average(MLP.model(), MLP.data(split), rho=0.5, draws=8).value for split in SPLITS]
    assert values == pytest.approx([values[0]] * len(SPLITS), rel=1e-9)


def test_rtol_is_reached_or_missed_openly() -> None:
    case = Quadratic.make()
    fixed = average_case_sharpness(case.risk())
    assert (fixed.details["draws"], fixed.converged) == (50, True)
    reached = average_case_sharpness(case.risk(rtol=0.02))
    assert reached.converged
    assert reached.stderr <= 0.02 * reached.value
    assert abs(reached.value - 0.05**2 * np.trace(case.hessian) / 12) < 4 * reached.stderr
    loose = average_case_sharpness(case.risk(rtol=0.5))
    assert loose.converged
    assert loose.details["draws"] == 16
    missed = average_case_sharpness(case.risk(rtol=1e-6), draws=2)
    assert not missed.converged
    assert missed.details["draws"] == 128
    assert "128 draws" in missed.details["reason"]


def test_rtol_of_the_call_reaches_the_measures() -> None:
    names = {"sam_sharpness": {"rho": 0.1}, MEASURE: {"rho": 2.0}}
    found = measure(MLP.model(), MLP.data((12,)), names, rtol=0.05)
    for estimate in found.values():
        assert estimate.converged == (estimate.stderr <= 0.05 * abs(estimate.value))
    assert found["sam_sharpness"].converged
    with pytest.raises(SharpscopeError, match="rtol must be a positive number"):
        measure(MLP.model(), MLP.data(), rtol=0.0)


def test_sam_sharpness_by_rounds_is_that_of_as_many_draws() -> None:
    case = Quadratic.make()
    rounds = sam_sharpness(case.risk(rtol=0.05))
    assert rounds.stderr <= 0.05 * rounds.value
    at_once = sam_sharpness(case.risk(), draws=rounds.details["draws"])
    assert (at_once.value, at_once.stderr) == (rounds.value, rounds.stderr)
    assert rounds.details["at_zero"] == 0.0


def drawn(draws: int, rtol: float | None, spread: float, mean: float = 1.0) -> tuple[list[float], list[int]]:
    """Run rounds over normal numbers; return them and how many each round added."""
    counts: list[int] = []

    def make(start: int, count: int) -> Generator[Any, Any, list[float]]:
        assert start == sum(counts)
        counts.append(count)
        yield from ()
        return [mean + spread * float(np.random.default_rng(k).normal()) for k in range(start, start + count)]

    generator = draw_rounds(make, draws, rtol)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    return stop.value.value, counts


def test_rounds_end_where_the_precision_is_reached() -> None:
    assert drawn(10, None, 1.0)[1] == [10]
    assert drawn(100, 0.1, 0.01)[1] == [16]
    values, counts = drawn(100, 0.05, 1.0)
    assert mean_of(values, 1).stderr <= 0.05 * abs(mean_of(values, 1).value)
    assert 250 <= len(values) <= 900, "(1 / 0.05)^2 = 400"
    assert counts[1] <= 3 * counts[0], "little is known of the spread after the first round"


def test_rounds_end_at_the_budget() -> None:
    values, _ = drawn(3, 1e-9, 1.0)
    assert len(values) == 64 * 3
    assert further_draws([0.0, 0.0], 0.1, 100) == 0
    assert further_draws([math.nan, 1.0], 0.1, 100) == 0
    assert further_draws([-1.0, 1.0], 0.1, 100) == 6, "a mean of 0 says nothing of how many are needed"


@pytest.mark.parametrize("options", [{"rho": -1.0}, {"draws": 1}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SharpscopeError, match=next(iter(options))):
        average(MLP.model(), MLP.data(), **options)
