"""SAM sharpness against hand loops and closed forms, and its standard errors against how far the values spread."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import Estimate, measure
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream
from sharpscope.sharpness.sam import _doubt, _value, folded_normal_mean

X = torch.randn(11, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(11) % 3


class Quadratic(nn.Module):
    """Outputs a . theta + theta^T diag(h) theta / 2, the same for every sample."""

    def __init__(self, slope: float, curvatures: list[float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(len(curvatures), dtype=torch.float64))
        self.slope = slope
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        value = self.slope * self.theta.sum() + (self.curvatures * self.theta.square()).sum() / 2
        return value.expand(len(x), 1)


def sam(
    model: nn.Module, data: Any = (X, Y), *, seed: int = 0, loss: Any = "cross_entropy", **options: Any
) -> Estimate:
    return measure(model, data, {"sam_sharpness": options}, seed=seed, loss=loss)["sam_sharpness"]


def identity(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, 0]


def hand_loop(model: nn.Module, rho: float, draws: int) -> list[float]:
    """The definition, written out: perturb a copy, evaluate all samples, put the parameters back."""
    parameters = dict(model.named_parameters())
    base = nn.functional.cross_entropy(model(X), Y)
    scale = rho / math.sqrt(sum(p.numel() for p in parameters.values()))
    changes = []
    for k in range(draws):
        generator = Stream(0, "measure", "estimators", "sam_sharpness", k).torch()
        moved = {n: p + scale * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in parameters.items()}
        loss = nn.functional.cross_entropy(torch.func.functional_call(model, moved, (X,)), Y)
        changes.append(abs(float(loss.detach() - base.detach())) / rho)
    return changes


def test_monte_carlo_is_the_loop_of_its_definition() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    changes = hand_loop(model, 0.3, 7)
    found = sam(model, rho=0.3, draws=7)
    assert found.value == pytest.approx(np.mean(changes), rel=1e-9)
    assert found.stderr == pytest.approx(stats.sem(changes), rel=1e-9)
    assert found.details["draws"] == 7


def test_monte_carlo_covers_the_truth_of_a_linear_risk() -> None:
    """L is linear: the change is N(0, rho^2 a^2) for P parameters of slope a, and E|.| / rho = a sqrt(2 / pi)."""
    truth = 2.0 * math.sqrt(2 / math.pi)
    found = [sam(Quadratic(2.0, [0.0] * 4), loss=identity, draws=50, seed=seed) for seed in range(100)]
    within = sum(abs(e.value - truth) < 1.96 * e.stderr for e in found)
    assert 89 <= within <= 100, "95 of 100 are expected, with a standard deviation of 2.2"
    # 0.756 is the coefficient of variation of |N(0, 1)|, sqrt(pi / 2 - 1); 7.6% at the 100 draws of the paper.
    assert np.mean([e.stderr for e in found]) == pytest.approx(truth * math.sqrt((math.pi / 2 - 1) / 50), rel=0.03)


@pytest.mark.parametrize("method", ["monte_carlo", "expansion"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_perturbation_changes_nothing_at_all(method: str, dtype: torch.dtype) -> None:
    """Also where the loader shuffles, and the last batch is smaller."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    loader = DataLoader(TensorDataset(X.to(dtype), Y), batch_size=4, shuffle=True)
    found = sam(model, loader, method=method)
    assert found.details["at_zero"] == 0.0
    assert found.value > 0


def trained(steps: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] + 0.5 * torch.randn(60, generator=generator) > 0).long()
    with Stream(0, "init").governing():
        model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, (x, y)


@pytest.mark.parametrize("rho", [0.005, 0.05])
def test_the_expansion_holds_for_small_rho_on_a_partly_fitted_network(rho: float) -> None:
    model, data = trained(30)
    exact = sam(model, data, rho=rho, draws=2000)
    found = sam(model, data, rho=rho, method="expansion")
    assert found.stderr < 0.012 * found.value
    assert found.value == pytest.approx(
        exact.value, abs=0.01 * exact.value + 3 * math.hypot(exact.stderr, found.stderr)
    )


def test_the_expansion_is_the_gradient_norm_where_curvature_is_nothing() -> None:
    found = sam(Quadratic(2.0, [0.0] * 4), loss=identity, method="expansion")
    assert found.value == pytest.approx(2.0 * math.sqrt(2 / math.pi), rel=1e-9)
    assert found.stderr == pytest.approx(0, abs=1e-9)
    assert found.details["pairs"] == 2


def test_the_expansion_at_an_exact_minimum_is_the_drift() -> None:
    """s = 0: the value is mu = rho tr(H) / (2 P), here with one curvature for all directions."""
    h, rho, size = 3.0, 0.1, 400
    found = sam(Quadratic(0.0, [h] * size), loss=identity, method="expansion", rho=rho)
    assert found.details["gradient_part"] == 0
    assert found.value == pytest.approx(rho * h / 2, abs=4 * found.stderr)
    assert 0 < found.stderr < 0.02 * found.value


def test_the_expansion_covers_the_drift_over_seeds() -> None:
    """Ten directions of unlike curvature; slope and drift of one size."""
    h, rho = [float(k) for k in range(10)], 0.4
    truth = folded_normal_mean(rho * sum(h) / 20, 1.0)
    found = [sam(Quadratic(1.0, h), loss=identity, method="expansion", rho=rho, seed=seed) for seed in range(100)]
    within = sum(abs(e.value - truth) < 2 * e.stderr for e in found)
    assert within >= 88, "95 of 100 are expected, with a standard deviation of 2.2"


def test_one_small_pair_is_not_taken_for_a_small_drift() -> None:
    """With one direction of curvature, a pair is a chi-square variable of one degree of freedom: often near 0."""
    h, rho = [40.0, 0.0, 0.0, 0.0], 1.0
    truth = folded_normal_mean(rho * sum(h) / 8, 10.0)
    found = [sam(Quadratic(10.0, h), loss=identity, method="expansion", rho=rho, seed=seed) for seed in range(100)]
    wrong = sum(abs(e.value - truth) > 4 * e.stderr + 0.01 * truth for e in found)
    assert wrong <= 20, "2.5 of 100 at each of five looks that could end the drawing, in the worst case there is"


@pytest.mark.parametrize("mu", [0.0, 1e-9, -0.3, 1.0, 30.0])
@pytest.mark.parametrize("s", [1e-3, 1.0, 5.0])
def test_folded_normal_mean_is_that_of_scipy(mu: float, s: float) -> None:
    assert folded_normal_mean(mu, s) == pytest.approx(stats.foldnorm.mean(abs(mu) / s, scale=s), rel=1e-9)


def test_folded_normal_mean_has_its_limits() -> None:
    assert folded_normal_mean(-0.5, 0.0) == 0.5
    assert folded_normal_mean(1e-3, 1e-300) == 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.0}, "'rho' .*greater than 0, got 0.0"),
        ({"rho": -1.0}, "'rho' .*greater than 0, got -1.0"),
        ({"rho": math.nan}, "'rho' .*finite number, got nan"),
        ({"rho": math.inf}, "'rho' .*finite number, got inf"),
        ({"draws": 1}, "'draws' .*greater than or equal to 2, got 1"),
        ({"method": "exact"}, "'monte_carlo' or 'expansion', got 'exact'"),
        ({"draws": 2.5}, "'draws' .*whole number.*got 2.5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        sam(nn.Linear(3, 3).double(), **options)


def test_two_pairs_are_doubted_enough() -> None:
    """Where curvature has both signs, two drifts may agree by chance, and their spread is hardly known."""
    generator, mu, s = np.random.default_rng(0), 2.0, 0.3
    drifts = [(mu + generator.standard_normal(2)).tolist() for _ in range(2000)]
    missed = sum(folded_normal_mean(mu, s) > _value(pair, s) + _doubt(pair, s) for pair in drifts)
    assert missed / len(drifts) < 0.03
