"""Estimators on plain matrices: what they find, how far their errors can be trusted, and what they cost."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators import deflated_moments, drive, lanczos, stochastic_lanczos_quadrature


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(values: Tensor, seed: int = 1) -> Tensor:
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator(seed), dtype=values.dtype))
    return basis @ torch.diag(values) @ basis.T


OUTLIERS = torch.cat([torch.tensor([9.0, 5.0, 5.0, 2.0]), torch.linspace(-0.4, 0.4, 96)]).double()


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 4])
def test_lanczos_finds_the_largest_eigenvalues(k: int, block: int) -> None:
    matrix = symmetric(OUTLIERS)
    algorithm = lanczos(100, generator(), k=k, block=block, tol=1e-8, budget=100, dtype=torch.float64)
    found = drive(algorithm, lambda v: v @ matrix)
    assert found.converged
    # A single vector cannot tell a double eigenvalue from a simple one.
    expected = OUTLIERS[:k] if block > 1 or k == 1 else torch.tensor([9.0, 5.0])
    torch.testing.assert_close(found.values[: len(expected)], expected.double(), rtol=1e-7, atol=0)
    actual = (found.vectors @ matrix - found.values[:, None] * found.vectors).norm(dim=1)
    torch.testing.assert_close(found.residuals, actual, rtol=1e-2, atol=1e-9)


def test_lanczos_is_exact_when_the_space_is_exhausted() -> None:
    matrix = symmetric(torch.tensor([3.0, -2.0, 1.0]).double())
    found = drive(lanczos(3, generator(), k=3, tol=0.0, dtype=torch.float64), lambda v: v @ matrix)
    assert found.converged
    torch.testing.assert_close(found.values, torch.tensor([3.0, 1.0, -2.0]).double())


BULK = torch.linspace(-0.4, 0.4, 300).double()
BAD_SPECTRA = {
    "close pair": [10.0, 9.9, 3.0],
    "tight cluster": [10.0, 9.95, 9.9, 9.85, 9.8],
    "negative dominates": [3.0, 2.0, -9.0, -12.0],
    "no gap": torch.linspace(0.4, 1.0, 60).tolist(),
}


@pytest.mark.parametrize("name", BAD_SPECTRA)
def test_stated_errors_hold_for_spectra_without_a_clear_gap(name: str) -> None:
    values = torch.cat([torch.tensor(BAD_SPECTRA[name]).double(), BULK])
    largest = float(values.max())
    covered = 0
    for seed in range(50):
        found = drive(lanczos(len(values), generator(seed), dtype=torch.float64), lambda v: v * values)
        assert found.converged
        assert float(found.values[0]) <= largest + 1e-12
        # An eigenvalue lies within the residual, without exception.
        assert float((values - found.values[0]).abs().min()) <= float(found.residuals[0]) <= 1e-3 * 12
        covered += largest - float(found.values[0]) <= float(found.residuals[0])
    assert covered >= 48


def test_a_start_orthogonal_to_the_top_finds_another_eigenvalue_within_its_error() -> None:
    start = torch.randn(1, 100, generator=generator(), dtype=torch.float64)
    drawn = torch.randn(99, 100, generator=generator(1), dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.cat([start, drawn]).T)
    # The top has the second vector for its own; the others mix the first, which is the start, with the rest.
    rest = torch.cat([basis[:, :1], basis[:, 2:]], dim=1)
    mixed, _ = torch.linalg.qr(rest @ torch.randn(99, 99, generator=generator(2), dtype=torch.float64))
    vectors = torch.cat([basis[:, 1:2], mixed], dim=1)
    found = drive(lanczos(100, generator(), dtype=torch.float64), lambda v: v @ (vectors * OUTLIERS) @ vectors.T)
    assert found.converged
    assert float(found.values[0]) == pytest.approx(float(OUTLIERS[1]), abs=float(found.residuals[0]))


def test_lanczos_on_the_zero_matrix() -> None:
    found = drive(lanczos(5, generator(), dtype=torch.float64), torch.zeros_like)
    assert found.converged
    assert float(found.values[0]) == 0.0


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
