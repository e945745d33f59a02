"""Estimators on plain matrices: what they find, how far their errors can be trusted, and what they cost."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators import Spectrum, deflated_probes, drive, stochastic_lanczos_quadrature
from sharpscope.curvature.estimators.density import share_bounds
from sharpscope.curvature.estimators.krylov import Krylov


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
        algorithm = deflated_probes(100, generator(seed), sketch=sketch, probes=24, dtype=torch.float64)
        estimate = mean_of(getattr(drive(algorithm, lambda v: v @ matrix), of), 1)
        covered += abs(estimate.value - truth) <= 1.96 * estimate.stderr
    # 200 intervals of 95%: 190 expected, standard deviation 3.1; a few less with 24 probes a normal interval.
    assert 178 <= covered <= 200


def test_a_sketch_takes_the_error_of_outliers_away_from_the_whole_and_from_blocks() -> None:
    matrix = symmetric(OUTLIERS * torch.cat([torch.full((4,), 10.0), torch.ones(96)]))
    errors = []
    for sketch in (0, 8):
        algorithm = deflated_probes(100, generator(), sketch=sketch, blocks={"half": slice(0, 50)}, dtype=torch.float64)
        found = drive(algorithm, lambda v: v @ matrix)
        errors.append([mean_of(draws, 1).stderr for draws in (found.trace, found.blocks["half"])])
    assert all(with_sketch < without / 5 for without, with_sketch in zip(*errors, strict=True))


def test_blocks_come_from_the_same_products() -> None:
    matrix = symmetric(OUTLIERS)
    calls: list[int] = []

    def multiply(v: Tensor) -> Tensor:
        calls.append(len(v))
        return v @ matrix

    spans = {"a": slice(0, 30), "b": slice(30, 100)}
    found = drive(deflated_probes(100, generator(), probes=400, blocks=spans, dtype=torch.float64), multiply)
    assert sum(calls) == found.products == 8 + 8 + 400
    for name, span in spans.items():
        estimate = mean_of(found.blocks[name], 1)
        assert abs(estimate.value - float(matrix[span, span].trace())) < 4 * estimate.stderr


def density(matrix: Tensor, seed: int = 0, *, starts: int = 4, steps: int = 12) -> Spectrum:
    algorithm = stochastic_lanczos_quadrature(
        len(matrix), generator(seed), starts=starts, steps=steps, dtype=torch.float64
    )
    return drive(algorithm, lambda v: v @ matrix)


def test_quadrature_has_the_moments_of_the_spectrum() -> None:
    found = density(symmetric(OUTLIERS), starts=64)
    assert found.products == 64 * 12
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(64, dtype=torch.float64))
    for power in (1, 2, 3):
        value, stderr = found.total(found.nodes**power)
        assert abs(value - float((OUTLIERS**power).sum())) < 4 * stderr
    assert math.isclose(float(found.nodes.max()), 9.0, rel_tol=1e-6)


# As of networks: a few large eigenvalues and a bulk, or no gap between them.
SPECTRA = {
    "one": torch.cat([torch.tensor([100.0]), torch.linspace(-0.1, 0.3, 149)]).double(),
    "ten": torch.cat([torch.logspace(1, -1, 10), torch.linspace(-0.01, 0.02, 140)]).double(),
    "power law": 10 / torch.arange(1, 151).double(),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_two_starts_know_the_error_of_their_trace(name: str) -> None:
    matrix, truth = symmetric(SPECTRA[name]), float(SPECTRA[name].sum())
    found = [density(matrix, seed, starts=2, steps=16) for seed in range(100)]
    totals = [f.total(f.nodes) for f in found]
    # 100 intervals of two standard errors: 95 expected, standard deviation 2.1; the spread of two starts covers 60.
    assert sum(abs(value - truth) <= 2 * stderr for value, stderr in totals) >= 88
    # What it says is what it is: no wider than the deviations are.
    deviation = math.sqrt(sum((value - truth) ** 2 for value, _ in totals) / len(totals))
    assert sum(stderr for _, stderr in totals) / len(totals) == pytest.approx(deviation, rel=0.25)


def test_eigenvalues_that_all_starts_agree_on_have_their_exact_weight() -> None:
    values = torch.cat([torch.tensor([9.0, 5.0, -4.0]), torch.zeros(97)]).double()
    found = density(symmetric(values))
    assert found.unknown == 97
    for nodes, weights, known in zip(found.nodes, found.weights, found.known, strict=True):
        assert sorted(nodes[known].tolist()) == pytest.approx([-4.0, 5.0, 9.0])
        assert weights[known].tolist() == [0.01] * 3
    # Nothing is left to chance: all others are zero.
    assert found.total(found.nodes) == (pytest.approx(10.0), pytest.approx(0.0, abs=1e-9))
    assert found.share_below(-1.0) == (pytest.approx(0.01), pytest.approx(0.0, abs=1e-9))


def test_a_multiple_eigenvalue_is_left_to_chance_as_its_number_is_not_known() -> None:
    values = torch.cat([torch.tensor([9.0, 5.0, 5.0]), torch.zeros(97)]).double()
    found = density(symmetric(values))
    assert found.unknown == 99
    value, stderr = found.total(found.nodes)
    assert 0 < abs(value - 19.0) <= 3 * stderr


def test_as_many_steps_as_parameters_find_every_eigenvalue() -> None:
    values = torch.tensor([3.0, 1.0, 0.5, -0.25, -2.0]).double()
    found = density(symmetric(values))
    assert found.unknown == 0
    assert found.total(found.nodes) == (pytest.approx(2.25), 0.0)
    assert found.share_below(0.0) == (pytest.approx(0.4), 0.0)


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
    matrix = (ROTATION * values) @ ROTATION.T
    shares = [density(matrix, seed, starts=2, steps=steps).share_below(threshold) for seed in range(30)]
    # 30 intervals of 95%: 28.5 expected, standard deviation 1.2.
    assert sum(abs(share - truth) <= 2 * stderr for share, stderr in shares) >= 27


@pytest.mark.parametrize("steps", [1, 4, 12])
@pytest.mark.parametrize("name", DENSITIES)
def test_the_bounds_of_the_share_of_a_start_hold_without_exception(name: str, steps: int) -> None:
    values = DENSITIES[name]
    threshold = -1e-3 * float(values.abs().max())
    for seed in range(10):
        space = Krylov(150, generator(seed), torch.float64)
        space.start()
        for _ in range(steps):
            space.receive(((space.basis.newest @ ROTATION) * values @ ROTATION.T)[None])
            space.follow(1 if space.basis.count < steps else 0)
        _, low, high = share_bounds(space.projected, threshold)
        share = float(((space.basis.row(0) @ ROTATION).square() * (values < threshold)).sum())
        assert low - 1e-9 <= share <= high + 1e-9


def test_a_start_that_is_exhausted_has_no_error_of_quadrature() -> None:
    found = density(symmetric(torch.tensor([2.0, 2.0, -1.0, 0.0, 0.0]).double()))
    assert found.doubt(-1e-3).tolist() == [0.0] * 4
