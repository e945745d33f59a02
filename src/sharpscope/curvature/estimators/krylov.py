"""Krylov spaces of a symmetric matrix: an orthonormal basis, the matrix within it, and what leads out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from sharpscope.curvature.estimators.basis import Basis

_ROUNDING = 100


@dataclass(frozen=True)
class Ritz:
    """The matrix within a basis, diagonalized.

    Attributes:
        values: In falling order, ``[m]``; none is above the eigenvalue of its place.
        states: The coordinates of their unit vectors in the basis, ``[m, m]``.
        residuals: ``|A y - theta y|`` of each.
        rounding: The part of it that stems from products that are not exactly those of a symmetric matrix.
    """

    values: Tensor
    states: Tensor
    residuals: Tensor
    rounding: Tensor


class Krylov:
    """An orthonormal basis Q with ``A Q = Q H + F C``, where the rows of F, orthogonal to Q, are yet to be followed.

    H is symmetric but for the rounding of products. There is one row of F for each start that is not exhausted.

    Args:
        size: P.
        generator: Where starts are drawn from; its device is the vectors' device.
        dtype: The precision of the vectors.

    Attributes:
        basis: Q, as rows.
        projected: H, float64 on the CPU.
        live: Whether the last product led out of the basis.
    """

    def __init__(self, size: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        self.size = size
        self.basis = Basis(size, dtype, generator.device)
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.live = True
        self._generator = generator
        self._pending: list[Tensor] = []
        self._inner = torch.zeros(0, 0, dtype=torch.float64)
        self._shares = torch.zeros(0, 0, dtype=torch.float64)
        self._largest = 0.0

    @property
    def full(self) -> bool:
        """Whether the basis spans the whole space."""
        return self.basis.count >= self.size

    @property
    def exhausted(self) -> bool:
        """Whether nothing leads out of the basis."""
        return self.full or not self._pending

    def start(self, vector: Tensor | None = None) -> None:
        """Begin, or begin anew, with the part of a vector that is orthogonal to the basis; a random one when None."""
        if vector is None:
            device = self._generator.device
            vector = torch.randn(self.size, generator=self._generator, dtype=self.basis.dtype, device=device)
        (rest,), _, (length,) = self.basis.outside(vector[None])
        nothing = torch.zeros(self.basis.count, dtype=torch.float64)
        self._extend(rest, float(length), nothing, self._inner_with(rest))

    def follow(self, count: int = 1, state: Tensor | None = None) -> int:
        """Extend the basis by the latest directions, or by those that contribute most to the residual of a state.

        Args:
            count: How many, where there are so many.
            state: Coordinates in the basis.

        Returns:
            How many rows came to the basis.
        """
        before = self.basis.count
        while self._pending and not self.full and self.basis.count < before + count:
            index = len(self._pending) - 1
            if state is not None:
                contributions = (self._shares[:, : len(state)] @ state).square() * self._inner.diagonal()
                index = int(contributions.argmax())
            self._follow(index)
        return self.basis.count - before

    def _follow(self, index: int) -> None:
        vector, share, inner = self._pending.pop(index), self._shares[index], self._inner[index]
        others = torch.arange(len(inner)) != index
        self._shares, self._inner = self._shares[others], self._inner[others][:, others]
        length = math.sqrt(float(inner[index]))
        if self._leads_out(length):
            self._extend(vector, length, length * share, inner[others])

    def _leads_out(self, length: float) -> bool:
        # What is left of rounding alone is no direction.
        return length > _ROUNDING * torch.finfo(self.basis.dtype).eps * self._largest

    def _extend(self, vector: Tensor, length: float, row: Tensor, inner: Tensor) -> None:
        """Add a vector to the basis, given its length, its row of H, and its inner products with what is pending."""
        newest = self.basis.append(vector, length)
        overlaps = inner / length
        self._inner -= torch.outer(overlaps, overlaps)
        for i, (pending, overlap) in enumerate(zip(self._pending, overlaps.tolist(), strict=True)):
            pending.sub_(newest, alpha=overlap)
            self._inner[i, i] = float(pending.norm()) ** 2
        self.projected = pad(self.projected, (0, 1, 0, 1))
        self.projected[-1, :-1] = row + overlaps @ self._shares
        self._shares = pad(self._shares, (0, 1))

    def receive(self, images: Tensor) -> None:
        """Take in the products of the matrix with the newest rows of the basis, ``[k, P]``."""
        first = self.basis.count - len(images)
        expected = self.projected[first:].clone()
        expected[:, first:] = (images @ self.basis.latest(len(images)).T).cpu().double()
        rest, coordinates, lengths = self.basis.outside(images, expected)
        self.projected[:, first:] = coordinates.T
        self._largest = max(self._largest, float(coordinates.norm(dim=1).max()), float(lengths.max()))
        for column, (vector, length) in enumerate(zip(rest, lengths.tolist(), strict=True), first):
            self.live = self._leads_out(length)
            if self.live:
                self._await(vector, length, column)

    def _await(self, vector: Tensor, length: float, column: int) -> None:
        """Keep what a product with a row led to, to be followed later."""
        inner = self._inner_with(vector)
        self._inner = pad(self._inner, (0, 1, 0, 1))
        self._inner[-1, :-1] = self._inner[:-1, -1] = inner
        self._inner[-1, -1] = length**2
        self._pending.append(vector)
        self._shares = pad(self._shares, (0, 0, 0, 1))
        self._shares[-1, column] = 1.0

    def _inner_with(self, vector: Tensor) -> Tensor:
        return torch.tensor([float(vector @ pending) for pending in self._pending], dtype=torch.float64)

    def ritz(self) -> Ritz:
        """Diagonalize the matrix within the basis."""
        symmetric = (self.projected + self.projected.T) / 2
        values, states = torch.linalg.eigh(symmetric)
        values, states = values.flip(0), states.flip(1)
        rounding = ((self.projected - symmetric) @ states).norm(dim=0)
        outward = self._shares @ states
        squares = (outward * (self._inner @ outward)).sum(dim=0).clamp_min(0)
        return Ritz(values, states, (squares + rounding.square()).sqrt(), rounding)

    def compress(self, states: Tensor) -> None:
        """Keep only some combinations of the basis, whose orthonormal coordinates are ``[m, k]``."""
        self.basis.compress(states)
        self.projected = states.T @ self.projected @ states
        self._shares = self._shares @ states
