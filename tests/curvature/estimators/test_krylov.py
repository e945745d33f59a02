"""Bases and Krylov spaces beside plain linear algebra in float64: whatever the steps, every relation holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sharpscope.curvature.estimators.basis import Basis
from sharpscope.curvature.estimators.krylov import Krylov

P = 60


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def basis_of(rows: Tensor) -> Basis:
    basis = Basis(rows.shape[1], rows.dtype, rows.device)
    for row in rows:
        basis.append(row, float(row.norm()))
    return basis


@pytest.mark.parametrize("count", [3, 8, 19])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_vectors_are_taken_apart_together(count: int, k: int) -> None:
    rows = torch.linalg.qr(torch.randn(P, count, generator=generator(), dtype=torch.float64))[0].T
    vectors = torch.randn(k, P, generator=generator(1), dtype=torch.float64)
    # Most of the last lies inside, so that one projection leaves rounding behind.
    vectors[-1] = 1e9 * rows.sum(dim=0) + vectors[-1]
    basis, kept = basis_of(rows), vectors.clone()
    rest, coordinates, lengths = basis.outside(vectors)
    torch.testing.assert_close(coordinates, vectors @ rows.T)
    torch.testing.assert_close(lengths, rest.norm(dim=1))
    assert float((rest @ rows.T).abs().max()) < 1e-13 * float(lengths.max())
    torch.testing.assert_close(rest[:-1], vectors[:-1] - vectors[:-1] @ rows.T @ rows)
    assert torch.equal(vectors, kept)
    # What is expected beforehand, right or wrong, changes nothing.
    expected = coordinates.clone()
    expected[:, : count // 2] = 0
    again, found, _ = basis.outside(vectors, expected)
    torch.testing.assert_close(found, coordinates)
    torch.testing.assert_close(again[:-1], rest[:-1])


def test_the_latest_rows_are_those_appended_last_wherever_they_lie() -> None:
    rows = torch.eye(P, dtype=torch.float64)[:11]
    basis = basis_of(rows)
    for count in (1, 2, 3, 4, 11):
        assert torch.equal(basis.latest(count), rows[11 - count :])


@pytest.mark.parametrize("block", [1, 2, 3])
def test_the_matrix_within_the_space_and_its_residuals_are_true_after_any_steps(block: int) -> None:
    matrix = torch.randn(P, P, generator=generator(2), dtype=torch.float64)
    matrix = matrix + matrix.T
    space = Krylov(P, generator(), torch.float64)
    for _ in range(block):
        space.start()
    new = block
    for step in range(14):
        space.receive(space.basis.latest(new) @ matrix)
        rows, ritz = space.basis.rows, space.ritz()
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64))
        torch.testing.assert_close(space.projected, rows @ matrix @ rows.T)
        states = ritz.states.T @ rows
        residuals = (states @ matrix - ritz.values[:, None] * states).norm(dim=1)
        torch.testing.assert_close(ritz.residuals, residuals, rtol=1e-6, atol=1e-9)
        if step == 5:
            space.compress(ritz.states[:, :7])
            ritz = space.ritz()
        if step == 9:  # a fresh start, while directions of the others are left
            space.start()
            new = 1
        else:
            # Fewer than there are are followed now and then, and the rest later.
            new = space.follow(block - step % 2 or 1, ritz.states[:, 0] if step % 3 else None)
