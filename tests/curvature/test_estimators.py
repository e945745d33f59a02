"""Estimators on plain matrices: what they find, how far their errors can be trusted, and what they cost."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators import deflated_moments, drive, stochastic_lanczos_quadrature


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(values: Tensor, seed: int = 1) -> Tensor:
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator(seed), dtype=values.dtype))
    return basis @ torch.diag(values) @ basis.T


OUTLIERS = torch.cat([torch.tensor([9.0, 5.0, 5.0, 2.0]), torch.linspace(-0.4, 0.4, 96)]).double()


@pytest.mark.parametrize("sketch", [0, 6])
@pytest.mark.parametrize("of", ["trace", "square"])
def test_intervals_cover_the_truth_as_often_as_they_say(of: str, sketch: int) -> None:
    matrix = symmetric(OUTLIERS)
    truth = float(matrix.trace()) if of == "trace" else float(matrix.square().sum())
    covered = 0
    for seed in range(200):
        algorithm = deflated_moments(100, generator(seed), sketch=sketch, probes=24, dtype=torch.float64)
        estimate = mean_of(getattr(drive(algorithm, lambda v: v @ matrix), of), 1)
        covered += abs(estimate.value - truth) <= 1.96 * estimate.stderr
    # 200 intervals of 95%: 190 expected, standard deviation 3.1; a few less with 24 probes a normal interval.
    assert 178 <= covered <= 200


def test_a_sketch_takes_the_error_of_outliers_away() -> None:
    matrix = symmetric(OUTLIERS * torch.cat([torch.full((4,), 10.0), torch.ones(96)]))
    errors = []
    for sketch in (0, 8):
        found = drive(deflated_moments(100, generator(), sketch=sketch, dtype=torch.float64), lambda v: v @ matrix)
        errors.append(mean_of(found.trace, 1).stderr)
    assert errors[1] < errors[0] / 5


def test_blocks_come_from_the_same_products() -> None:
    matrix = symmetric(OUTLIERS)
    calls: list[int] = []

    def multiply(v: Tensor) -> Tensor:
        calls.append(len(v))
        return v @ matrix

    spans = {"a": slice(0, 30), "b": slice(30, 100)}
    found = drive(deflated_moments(100, generator(), probes=400, blocks=spans, dtype=torch.float64), multiply)
    assert sum(calls) == found.products == 8 + 8 + 400
    for name, span in spans.items():
        estimate = mean_of(found.blocks[name], 1)
        assert abs(estimate.value - float(matrix[span, span].trace())) < 4 * estimate.stderr


def test_quadrature_has_the_moments_of_the_spectrum() -> None:
    matrix = symmetric(OUTLIERS)
    algorithm = stochastic_lanczos_quadrature(100, generator(), starts=64, steps=12, dtype=torch.float64)
    found = drive(algorithm, lambda v: v @ matrix)
    assert found.products == 64 * 12
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(64, dtype=torch.float64))
    for power in (1, 2, 3):
        moments = (found.weights * found.nodes**power).sum(dim=1).tolist()
        estimate = mean_of(moments, 1)
        assert abs(estimate.value - float((OUTLIERS**power).mean())) < 4 * estimate.stderr
    assert math.isclose(float(found.nodes.max()), 9.0, rel_tol=1e-6)


def semicircle(size: int) -> Tensor:
    return torch.cos(torch.linspace(0.05, 3.09, size, dtype=torch.float64))


ROTATION, _ = torch.linalg.qr(torch.randn(150, 150, generator=generator(5), dtype=torch.float64))
DENSITIES = {
    "symmetric": semicircle(150),
    "mostly zero": torch.cat([torch.zeros(115), -torch.linspace(0.01, 1, 25), torch.linspace(1, 9, 10)]).double(),
    "few negative": torch.cat([torch.linspace(0, 1, 145), torch.full((5,), -0.3)]).double(),
    "none negative": torch.linspace(0, 1, 150).double().square(),
    "near the threshold": torch.linspace(-0.01, 1, 150).double().pow(3),
    "many scales": torch.cat([torch.logspace(-6, 1, 100), -torch.logspace(-6, 0, 50)]).double(),
}


@pytest.mark.parametrize("steps", [4, 12])
@pytest.mark.parametrize("name", DENSITIES)
def test_the_interval_of_the_share_below_a_threshold_covers_it(name: str, steps: int) -> None:
    values = DENSITIES[name]
    threshold = -1e-3 * float(values.abs().max())
    truth = float((values < threshold).double().mean())
    covered, within = 0, True
    for seed in range(30):
        # Diagonal matrices would have no spread over random signs.
        algorithm = stochastic_lanczos_quadrature(150, generator(seed), starts=4, steps=steps, dtype=torch.float64)
        found = drive(algorithm, lambda v: (v @ ROTATION) * values @ ROTATION.T)
        shares, off = found.below(threshold)
        starts = torch.randint(0, 2, (4, 150), generator=generator(seed), dtype=torch.int8).double().mul(2).sub(1)
        true = ((starts @ ROTATION).square() * (values < threshold)).sum(dim=1) / 150
        within &= bool(((shares - true).abs() <= off + 1e-9).all())
        spread = mean_of(shares.tolist(), 1)
        covered += abs(spread.value - truth) <= 3.18 * math.hypot(spread.stderr, float(off.mean()))
    # The bounds of a start hold without exception; 30 intervals of 95%: 28.5 expected, standard deviation 1.2.
    assert within
    assert covered >= 27


def test_a_start_that_is_exhausted_has_no_error_of_quadrature() -> None:
    matrix = symmetric(torch.tensor([2.0, 2.0, -1.0, 0.0, 0.0]).double())
    found = drive(stochastic_lanczos_quadrature(5, generator(), dtype=torch.float64), lambda v: v @ matrix)
    _, off = found.below(-1e-3)
    assert found.whole == [True] * 4
    assert off.tolist() == [0.0] * 4
