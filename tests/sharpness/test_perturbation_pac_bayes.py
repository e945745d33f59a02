"""PAC-Bayes flatness where the scale of noise that a model bears is known by arithmetic, and against the Hessian."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS
from tests.sharpness.quadratics import Quadratic, rescaled
from torch import nn

from sharpscope import Estimate, measure
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined, SharpscopeError
from sharpscope.seeding import Stream
from sharpscope.sharpness.pac_bayes import pac_bayes_flatness

MEASURE = "pac_bayes_flatness"
MLP = CASES[0]
# P(z < -1 / sigma) = 0.1 at 1 / sigma = 1.2816, the 90% quantile of the normal distribution.
CROSSING = 1.2815515655446004**2


def independent_signs(weights: torch.Tensor, seed: int = 0, rtol: float | None = None) -> Risk:
    """Return a risk whose sample n is right while weight n stays positive: its accuracy under noise is known."""
    count = len(weights)
    model = nn.Linear(count, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.stack([weights, torch.zeros(count)]))
    inputs = torch.eye(count, dtype=torch.float64)

    def positive(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        f = module(x)
        return torch.stack([f[:, 0], -f[:, 0]], dim=1)

    targets = torch.zeros(count, dtype=torch.int64)
    return Risk(model, Batches((inputs, targets)), forward=positive, stream=Stream(seed), rtol=rtol)


def flatness(model: nn.Module, data: Any, **options: Any) -> Estimate:
    return measure(model, data, {MEASURE: options})[MEASURE]


def summary(found: list[Estimate], truth: float) -> tuple[float, float, float]:
    """Return the mean's distance from the truth in its own errors, the ratio of errors, and the share covered."""
    values = np.array([e.value for e in found])
    off = (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))
    ratio = np.mean([e.stderr for e in found]) / values.std(ddof=1)
    return float(off), float(ratio), float(np.mean([abs(e.value - truth) <= 2 * e.stderr for e in found]))


def test_on_a_quadratic_it_is_the_trace_over_twice_the_tolerance() -> None:
    case, tolerance = Quadratic.make(), 0.5
    truth = float(np.trace(case.hessian)) / (2 * tolerance)
    options: dict[str, Any] = {"criterion": "loss", "tolerance": tolerance, "draws": 12}
    found = [pac_bayes_flatness(case.risk(seed), **options) for seed in range(40)]
    off, ratio, covered = summary(found, truth)
    assert abs(off) < 4
    assert 0.75 < ratio < 1.3
    assert 0.85 <= covered <= 1.0
    # A pair has deviation sqrt(2) |H|_F around tr(H).
    relative = math.sqrt(2 / 12) * np.linalg.norm(case.hessian) / np.trace(case.hessian)
    assert np.mean([e.stderr for e in found]) / truth == pytest.approx(relative, rel=0.15)
    small = pac_bayes_flatness(case.risk(), **{**options, "tolerance": 1e-4})
    assert small.value * 1e-4 == pytest.approx(found[0].value * tolerance, rel=1e-6)


def test_for_a_small_tolerance_it_is_the_trace_of_a_networks_hessian() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    y = model(x).detach() + 0.1 * torch.randn(20, 2, generator=generator)
    with Risk(model, Batches((x, y)), loss="mse") as risk:
        trace = float(dense.hessian(risk).trace())
    options = {"criterion": "loss", "tolerance": 1e-6, "draws": 100}
    found = measure(model, (x, y), {MEASURE: options}, loss="mse")[MEASURE]
    assert found.stderr < 0.15 * found.value
    assert abs(found.value - trace / 2e-6) < 4 * found.stderr


@pytest.mark.parametrize("magnitude_aware", [False, True])
def test_accuracy_falls_where_the_normal_distribution_says(magnitude_aware: bool) -> None:
    weights = torch.ones(60, dtype=torch.float64)
    if magnitude_aware:
        weights = torch.logspace(-3, 3, 60, dtype=torch.float64)
    options: dict[str, Any] = {"magnitude_aware": magnitude_aware, "floor": 0.0}
    found = [pac_bayes_flatness(independent_signs(weights, seed), **options) for seed in range(30)]
    off, ratio, covered = summary(found, CROSSING)
    assert abs(off) < 4
    assert 0.7 < ratio < 1.4
    assert 0.85 <= covered <= 1.0
    assert all(e.converged and e.stderr < 0.3 * e.value for e in found)


def test_the_floor_is_noise_too() -> None:
    """std^2 = sigma^2 + floor^2 at weights of 1, so that sigma^2 is what the floor leaves of the crossing."""
    risk = independent_signs(torch.ones(400, dtype=torch.float64))
    found = pac_bayes_flatness(risk, magnitude_aware=True, floor=0.5)
    assert abs(found.value - 1 / (1 / CROSSING - 0.25)) < 4 * found.stderr
    plain = pac_bayes_flatness(risk, floor=0.5)
    assert abs(plain.value - CROSSING) < 4 * plain.stderr, "without magnitudes there is no floor"


def test_the_bracket_holds_the_value_and_keeps_the_tolerance() -> None:
    found = flatness(MLP.model(), MLP.data(), criterion="loss")
    low, high = found.details["bracket"]
    assert low <= found.value**-0.5 <= high <= 1.05 * low
    assert found.details["draws"] == 10
    assert found.converged


def test_accuracy_that_never_falls_is_not_converged() -> None:
    case = CASES[0]
    found = flatness(case.model(), [(x, torch.full_like(y, 3)) for x, y in case.data()], tolerance=0.99)
    assert not found.converged
    low, high = found.details["bracket"]
    assert (found.value, high) == (low**-2, math.inf)
    assert found.stderr == found.value
    assert "stays below the tolerance up to sigma" in found.details["reason"]


def test_a_floor_beyond_the_tolerance_is_not_converged() -> None:
    found = pac_bayes_flatness(independent_signs(torch.ones(50, dtype=torch.float64)), magnitude_aware=True, floor=2.0)
    assert not found.converged
    assert found.details["bracket"][0] == 0.0
    assert "stays above the tolerance down to sigma" in found.details["reason"]


def test_a_loss_that_is_not_a_number_is_not_converged() -> None:
    model = MLP.model()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    found = flatness(model, MLP.data(), criterion="loss")
    assert math.isnan(found.value)
    assert not found.converged


def test_noise_that_overflows_counts_as_a_drop() -> None:
    """exp(1e3 w) is infinite or nearly nothing under noise, so sigma is bounded by it."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
    x = torch.ones(4, 1, dtype=torch.float64)
    found = measure(
        model,
        (x, torch.zeros(4)),
        {MEASURE: {"criterion": "loss"}},
        loss=lambda f, t: (1e3 * (f.squeeze(1) - 1)).exp() - 1 + t,
    )[MEASURE]
    assert found.converged
    # The mean over few draws crosses where 1000 sigma is of the order of 1.
    assert 0.1 < found.value**-0.5 * 1e3 < 10


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
@pytest.mark.parametrize("magnitude_aware", [False, True])
def test_it_does_not_depend_on_the_split(criterion: str, magnitude_aware: bool) -> None:
    options = {"criterion": criterion, "magnitude_aware": magnitude_aware, "draws": 3, "tolerance": 0.05}
    x, _ = (torch.cat(part) for part in zip(*MLP.data(), strict=True))
    labels = MLP.model().eval()(x).argmax(dim=1)
    values = []
    for split in SPLITS:
        data = list(zip(x.split(split), labels.split(split), strict=True))
        values.append(flatness(MLP.model(), data, **options).value)
    assert values == pytest.approx([values[0]] * len(SPLITS), rel=1e-9)


@pytest.mark.parametrize("per_neuron", [False, True])
def test_without_a_floor_the_magnitude_aware_form_does_not_see_rescaling(per_neuron: bool) -> None:
    model = MLP.model()
    other = rescaled(model, per_neuron=per_neuron)  # type: ignore[arg-type]
    options = {"criterion": "loss", "draws": 4}
    aware = [flatness(m, MLP.data(), magnitude_aware=True, floor=0.0, **options).value for m in (model, other)]
    plain = [flatness(m, MLP.data(), **options).value for m in (model, other)]
    assert aware[0] == pytest.approx(aware[1], rel=1e-7)
    assert plain[0] != pytest.approx(plain[1], rel=0.1)


def test_rtol_is_reached_or_missed_openly() -> None:
    case = Quadratic.make()
    reached = pac_bayes_flatness(case.risk(rtol=0.05), criterion="loss")
    assert reached.converged
    assert reached.stderr <= 0.05 * reached.value
    assert reached.details["draws"] > 10
    assert abs(reached.value - np.trace(case.hessian) / 0.2) < 4 * reached.stderr
    missed = pac_bayes_flatness(case.risk(rtol=1e-4), criterion="loss", draws=2)
    assert not missed.converged
    assert missed.details["draws"] == 128


def test_accuracy_needs_classes() -> None:
    case = Quadratic.make()
    with pytest.raises(NotDefined, match="class indices"):
        pac_bayes_flatness(case.risk())


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"draws": 1}, {"floor": -1.0}, {"criterion": "error"}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SharpscopeError, match=next(iter(options))):
        flatness(MLP.model(), MLP.data(), **options)
