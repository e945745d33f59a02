"""Orthonormal vectors that grow one by one, for Krylov spaces of large dimension."""

from __future__ import annotations

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
        """Return the last rows, ``[count, P]``."""
        if count == 1:
            return self.newest[None]
        return torch.stack([self.row(i) for i in range(self.count - count, self.count)])

    @property
    def rows(self) -> Tensor:
        """All rows, ``[count, P]``; a copy where they do not lie together."""
        filled = list(self._filled())
        return filled[0] if len(filled) == 1 else torch.cat(filled)

    def coordinates(self, vector: Tensor) -> Tensor:
        """Return the products of all rows with a vector, ``[count]``."""
        return torch.cat([(rows @ vector).cpu().double() for rows in self._filled()])

    def subtract(self, vector: Tensor, coordinates: Tensor) -> None:
        """Subtract from a vector, in place, what has these coordinates."""
        start = 0
        for rows in self._filled():
            vector.addmv_(rows.T, coordinates[start : start + len(rows)].to(vector), alpha=-1)
            start += len(rows)

    def outside(self, vector: Tensor, expected: Tensor | None = None) -> tuple[Tensor, Tensor, float]:
        """Return the part of a vector outside of the span of the rows, its coordinates inside, and the part's length.

        Classical Gram-Schmidt: a projection, and another where the first has taken most of the vector away, since what
        it leaves then has rounding of the size of what it took. With what is expected taken off before, one is enough.

        Args:
            vector: ``[P]``; left as it is.
            expected: Coordinates that are known but for rounding, most of them zeros.

        Reference: Daniel, Gragg, Kaufman and Stewart, "Reorthogonalization and Stable Algorithms for Updating the
            Gram-Schmidt QR Factorization", 1976.
        """
        rest = vector.clone()
        coordinates = torch.zeros(self.count, dtype=torch.float64)
        if expected is not None:
            for i in expected.nonzero().flatten().tolist():
                rest.sub_(self.row(i), alpha=float(expected[i]))
            coordinates += expected
        length = float(rest.norm())
        nothing = torch.finfo(vector.dtype).eps * float(vector.norm())
        before = float("inf")
        while self.count and length < _ENOUGH * before and length > nothing:
            before = length
            found = self.coordinates(rest)
            self.subtract(rest, found)
            coordinates += found
            length = float(rest.norm())
        return rest, coordinates, length

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

    def _filled(self) -> Iterator[Tensor]:
        for start, chunk in zip(range(0, self.count, _CHUNK), self._chunks, strict=True):
            yield chunk[: min(_CHUNK, self.count - start)]


def orthonormal(vectors: Tensor) -> Tensor:
    """Return orthonormal rows that span rows ``[k, P]``; fewer, where some add nothing but rounding."""
    basis = Basis(vectors.shape[1], vectors.dtype, vectors.device)
    tiny = 100 * torch.finfo(vectors.dtype).eps * float(vectors.norm(dim=1).max())
    for vector in vectors:
        rest, _, length = basis.outside(vector)
        if length > tiny:
            basis.append(rest, length)
    return basis.rows if basis.count else vectors[:0]
