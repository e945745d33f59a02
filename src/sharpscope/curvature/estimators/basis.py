"""Orthonormal vectors that grow one by one, for Krylov spaces of large dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

# Rows are stored in chunks of so many, so that none is ever copied to make room for others.
_CHUNK = 8
# Columns that are worked on together where rows are overwritten by combinations of themselves.
_TILE = 1 << 16
# What is left of a vector must be this share of it for one projection to have been enough.
_ENOUGH = 0.5


class Basis:
    """Orthonormal rows of length P.

    Coordinates are float64 on the CPU, whatever the precision and the device of the rows.

    Args:
        size: P.
        dtype: The precision of the rows.
        device: Where they are.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dtype, self.device = size, dtype, device
        self._chunks: list[Tensor] = []
        self.count = 0

    def append(self, vector: Tensor, length: float) -> Tensor:
        """Add a vector that is orthogonal to all rows, divided by its length, and return the row."""
        if self.count == _CHUNK * len(self._chunks):
            self._chunks.append(torch.empty(_CHUNK, self.size, dtype=self.dtype, device=self.device))
        self.count += 1
        return torch.div(vector, length, out=self.newest)

    @property
    def newest(self) -> Tensor:
        """The last row, ``[P]``."""
        return self.row(self.count - 1)

    def latest(self, count: int) -> Tensor:
        """Return the last rows, ``[count, P]``; a copy where they do not lie together."""
        found = list(self._filled(self.count - count))
        return found[0] if len(found) == 1 else torch.cat(found)

    @property
    def rows(self) -> Tensor:
        """All rows, ``[count, P]``; a copy where they do not lie together."""
        filled = list(self._filled())
        return filled[0] if len(filled) == 1 else torch.cat(filled)

    def coordinates(self, vectors: Tensor) -> Tensor:
        """Return the products of vectors ``[k, P]`` with all rows, ``[k, count]``."""
        return torch.cat([(vectors @ rows.T).cpu().double() for rows in self._filled()], dim=1)

    def subtract(self, vectors: Tensor, coordinates: Tensor) -> None:
        """Subtract from vectors ``[k, P]``, in place, what has these coordinates, ``[k, count]``."""
        used = coordinates.any(dim=0).nonzero().flatten().tolist()
        start = used[0] if used else self.count
        for rows in self._filled(start):
            vectors.addmm_(coordinates[:, start : start + len(rows)].to(vectors), rows, alpha=-1)
            start += len(rows)

    def outside(self, vectors: Tensor, expected: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the part of each vector outside of the span of the rows, its coordinates inside, the part's length.

        Classical Gram-Schmidt: a projection, and another where the first has taken most of the vector away, since what
        it leaves then has rounding of the size of what it took. With what is expected taken off before, one is enough.
        All vectors share the passes over the rows, which cost more than the arithmetic.

        Args:
            vectors: ``[k, P]``; left as they are.
            expected: Coordinates ``[k, count]`` that are known but for rounding, most of them zeros.

        Returns:
            The parts ``[k, P]``, the coordinates ``[k, count]``, and the lengths ``[k]``, these two in float64.

        Reference: Daniel, Gragg, Kaufman and Stewart, "Reorthogonalization and Stable Algorithms for Updating the
            Gram-Schmidt QR Factorization", 1976.
        """
        rest = vectors.clone()
        coordinates = torch.zeros(len(vectors), self.count, dtype=torch.float64)
        if expected is not None:
            self.subtract(rest, expected)
            coordinates += expected
        lengths = _lengths(rest)
        nothing = torch.finfo(rest.dtype).eps * torch.hypot(lengths, coordinates.norm(dim=1))
        before = torch.full_like(lengths, math.inf)
        while self.count and bool(((lengths < _ENOUGH * before) & (lengths > nothing)).any()):
            before = lengths
            found = self.coordinates(rest)
            self.subtract(rest, found)
            coordinates += found
            lengths = _lengths(rest)
        return rest, coordinates, lengths

    def combined(self, states: Tensor) -> Tensor:
        """Return combinations of the rows, ``[k, P]``, by their coordinates ``[count, k]``."""
        start, total = 0, None
        for rows in self._filled():
            part = states[start : start + len(rows)].T.to(rows) @ rows
            total = part if total is None else total.add_(part)
            start += len(rows)
        assert total is not None, "an empty basis has no combinations"
        return total

    def compress(self, states: Tensor) -> None:
        """Replace the rows by fewer combinations of them, whose orthonormal coordinates are ``[count, k]``."""
        filled, kept = list(self._filled()), states.shape[1]
        for first in range(0, filled[0].shape[1], _TILE):
            tile = slice(first, first + _TILE)
            old = torch.cat([rows[:, tile] for rows in filled])
            new = states.T.to(old) @ old
            for rows, part in zip(filled, new.split(_CHUNK), strict=False):
                rows[: len(part), tile] = part
        self.count = kept
        del self._chunks[-(-kept // _CHUNK) :]

    def row(self, index: int) -> Tensor:
        """Return a row, ``[P]``."""
        return self._chunks[index // _CHUNK][index % _CHUNK]

    def _filled(self, first: int = 0) -> Iterator[Tensor]:
        """Yield the rows from one on, those that lie together as one tensor."""
        for start in range(first - first % _CHUNK, self.count, _CHUNK):
            yield self._chunks[start // _CHUNK][max(first - start, 0) : self.count - start]


def _lengths(vectors: Tensor) -> Tensor:
    return vectors.norm(dim=1).cpu().double()


def orthonormal(vectors: Tensor) -> Tensor:
    """Return orthonormal rows that span rows ``[k, P]``; fewer, where some add nothing but rounding."""
    basis = Basis(vectors.shape[1], vectors.dtype, vectors.device)
    tiny = 100 * torch.finfo(vectors.dtype).eps * float(vectors.norm(dim=1).max())
    for vector in vectors:
        (rest,), _, (length,) = basis.outside(vector[None])
        if length > tiny:
            basis.append(rest, float(length))
    return basis.rows if basis.count else vectors[:0]
