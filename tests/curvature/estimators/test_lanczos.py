"""Eigenvalues of plain matrices over many starts: what is found, within which error, and by how many products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.estimators import Eigenvalues, drive, lanczos


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(values: Tensor, seed: int = 1) -> Tensor:
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator(seed), dtype=values.dtype))
    return basis @ torch.diag(values) @ basis.T


OUTLIERS = torch.cat([torch.tensor([9.0, 5.0, 5.0, 2.0]), torch.linspace(-0.4, 0.4, 96)]).double()


@pytest.mark.parametrize("rows", [None, 10])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_largest_eigenvalues_are_found_with_true_residuals(k: int, rows: int | None) -> None:
    matrix = symmetric(OUTLIERS)
    algorithm = lanczos(100, generator(), k=k, tol=1e-8, budget=200, rows=rows, dtype=torch.float64)
    found = drive(algorithm, lambda v: v @ matrix)
    assert found.converged
    torch.testing.assert_close(found.values, OUTLIERS[:k], rtol=1e-7, atol=0)
    actual = (found.vectors @ matrix - found.values[:, None] * found.vectors).norm(dim=1)
    torch.testing.assert_close(found.residuals, actual, rtol=1e-2, atol=1e-9)
    assert rows is None or found.basis.count <= rows + 1


def test_the_whole_space_gives_all_eigenvalues() -> None:
    matrix = symmetric(torch.tensor([3.0, -2.0, 1.0]).double())
    for k in (3, 7):
        found = drive(lanczos(3, generator(), k=k, tol=0.0, dtype=torch.float64), lambda v: v @ matrix)
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


SMALL_BULK = torch.linspace(-0.4, 0.4, 80)
SPECTRA = {
    "all negative": -torch.linspace(0.01, 10, 80),
    "negative of low rank": torch.cat([-torch.linspace(1, 5, 10), torch.zeros(80)]),
    "clustered": torch.cat([torch.tensor([10.0, 9.95, 9.9, 9.85, 9.8]), SMALL_BULK]),
    "negative dominates": torch.cat([torch.tensor([0.5]), torch.linspace(-0.3, 0.3, 60), torch.tensor([-90.0, -99.0])]),
    "zero": torch.zeros(50),
    "identity": torch.ones(50),
    "rank one": torch.cat([torch.tensor([3.0]), torch.zeros(50)]),
    "fewer than k": torch.tensor([3.0, -2.0, 1.0]),
    "three and four times": torch.cat([torch.tensor([9.0] * 4 + [5.0] * 3 + [2.0]), SMALL_BULK]),
    "ten times": torch.cat([torch.full((10,), 9.0), SMALL_BULK]),
}


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_values_have_the_precision_asked_for_whatever_the_start(name: str, k: int) -> None:
    values = SPECTRA[name].double().sort(descending=True).values
    expected = values[:k]
    # Near zero, a thousandth of the norm stands in the place of the value.
    allowed = 1e-2 * expected.abs().clamp_min(1e-3 * float(values.abs().max()))
    missed = 0
    for seed in range(12):
        algorithm = lanczos(len(values), generator(seed), k=k, tol=1e-2, budget=300, dtype=torch.float64)
        found = drive(algorithm, lambda v: v * values)
        assert found.converged
        assert (found.values <= expected + 1e-12).all()
        missed += bool((found.values < expected - allowed - 1e-12).any())
    assert missed <= 1


def found_by(values: Tensor, **options: object) -> Eigenvalues:
    return drive(lanczos(len(values), generator(), **options), lambda v: v * values)  # type: ignore[arg-type]


def test_a_precision_below_the_rounding_of_products_is_given_up_with_a_reason() -> None:
    values = torch.cat([torch.tensor([10.0, 4.0]), torch.linspace(-1, 1, 500)])
    found = found_by(values, tol=1e-9)
    assert not found.converged
    assert "rounding of the products" in found.reason
    assert found.products < 60
    assert abs(float(found.values[0]) - 10) <= float(found.residuals[0]) <= 1e-4


def test_a_budget_that_runs_out_is_a_reason() -> None:
    found = found_by(torch.linspace(0, 1, 500), k=3, budget=7)
    assert found.products == 7
    assert found.reason == "the relative precision 0.001 was not reached with 7 products"


def test_separated_eigenvalues_take_fewer_products_than_implicit_restarts_do() -> None:
    values = torch.cat([torch.tensor([9.0, 4.0, 3.0, 2.2, 1.8]), torch.linspace(-0.1, 0.6, 5000)])
    assert found_by(values, k=1).products <= 8
    # ARPACK makes 20 products before it looks.
    assert found_by(values, k=5).products <= 20


def test_a_single_value_that_is_missing_is_led_to_by_one_product_at_a_time() -> None:
    values = torch.cat([torch.tensor([9.0, 4.0, 3.0, 2.2, 1.8]), torch.linspace(-0.1, 0.6, 500)])
    found = [drive(lanczos(len(values), generator(seed), k=5), lambda v: v * values) for seed in range(10)]
    assert all(each.converged for each in found)
    # Two starts together give even numbers.
    assert any(each.products % 2 for each in found)
