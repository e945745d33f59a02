"""The largest eigenvalues of a symmetric matrix that is known by its products only."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpscope.curvature.estimators.basis import Basis
from sharpscope.curvature.estimators.krylov import Krylov, Ritz

# A value near zero is found to the precision that a value of this share of the matrix's norm would be.
_FLOOR = 1e-3
# In how many steps in a row a single eigenvalue must stay, its residual small, to be taken.
_STEADY = 3
# How likely it may be that a copy of a multiple eigenvalue is overlooked.
_OVERLOOKED = 0.05


@dataclass(frozen=True)
class Eigenvalues:
    """Approximate eigenvalues.

    Attributes:
        values: The k largest, in falling order; none is above the eigenvalue of its place.
        residuals: ``|A y - theta y|`` of each: an eigenvalue lies within this distance, whatever the spectrum. Its
            square over the gap to the next eigenvalue is far less, but the gap is not known: close eigenvalues look
            like one until many steps tell them apart.
        products: How many products were made.
        reason: Why the precision was not reached; empty where it was.
        states: The coordinates of the eigenvectors in the basis, ``[m, k]``.
        basis: Orthonormal rows.
    """

    values: Tensor
    residuals: Tensor
    products: int
    reason: str
    states: Tensor
    basis: Basis

    @property
    def converged(self) -> bool:
        """Whether all residuals are as small as asked, and the values stayed in the steps that followed."""
        return not self.reason

    @property
    def vectors(self) -> Tensor:
        """The unit vectors of the values, ``[k, P]``."""
        return self.basis.combined(self.states)


def lanczos(
    size: int,
    generator: torch.Generator,
    *,
    k: int = 1,
    tol: float = 1e-3,
    budget: int = 100,
    rows: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Generator[Tensor, Tensor, Eigenvalues]:
    """Find the k largest eigenvalues by Lanczos with full reorthogonalization and thick restarts.

    From one start, an eigenvalue of any multiplicity is seen once. Several eigenvalues are therefore sought from two
    starts together, in which a multiple one shows as two values that agree. Where there are such, further copies are
    sought from a fresh start orthogonal to all that is known, and again until nothing comes up: a copy that would have
    changed the values is then overlooked in about 5% of starts, or in more where gaps are so small that the search ends
    because it took as many steps as the first starts.

    Args:
        size: P.
        generator: Where the start vectors are drawn from; its device is the vectors' device.
        k: How many eigenvalues.
        tol: The residual to reach, relative to the eigenvalue, or to a thousandth of the largest absolute value found
            where the eigenvalue is nearer to zero than that.
        budget: At most so many products.
        rows: At most so many vectors of P numbers in the basis, and never less than ``k + 4``; one for every product
            when None.
        dtype: The precision of the vectors.

    References:
        Wu and Simon, "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems", SIMAX 2000. The chance of
        overlooking a copy follows Kuczynski and Wozniakowski, "Estimating the Largest Eigenvalue by the Power and
        Lanczos Algorithms with a Random Start", SIMAX 1992.
    """
    k = min(k, size)
    space = Krylov(size, generator, dtype)
    search: _Search = _One(tol) if k == 1 else _Several(k, tol)
    products, new = 0, min(search.block, budget)
    for _ in range(new):
        space.start()
    while True:
        space.receive((yield space.basis.latest(new)))
        products += new
        ritz = space.ritz()
        verdict = search.judge(space, ritz)
        if verdict is None and products >= budget:
            verdict = f"the relative precision {tol:g} was not reached with {products} products"
        if verdict is not None:
            values, residuals = ritz.values[:k], ritz.residuals[:k]
            return Eigenvalues(values, residuals, products, verdict, ritz.states[:, :k], space.basis)
        if rows is not None and space.basis.count >= max(rows, k + 4):
            kept = (space.basis.count + k) // 2
            space.compress(ritz.states[:, :kept])
            ritz = space.ritz()
        new = 0 if search.afresh else space.follow(min(search.step, budget - products), search.wanted(ritz))
        if not new:
            space.start()
            new = 1


class _Search:
    """What decides where to go on, and when to end.

    Args:
        k: How many eigenvalues.
        tol: The residual to reach, relative to each.
    """

    def __init__(self, k: int, tol: float, block: int = 1) -> None:
        self.k = k
        self.block = self.step = block
        self.afresh = False
        self._tol = tol
        self._worst: int | None = 0

    def judge(self, space: Krylov, ritz: Ritz) -> str | None:
        """Return None to go on, an empty text where all is found, or why it cannot be found."""
        values, residuals, rounding = (t[: self.k] for t in (ritz.values, ritz.residuals, ritz.rounding))
        allowed = self._tol * values.abs().clamp_min(_FLOOR * float(ritz.values.abs().max()))
        self.afresh = False
        if space.full:
            return ""
        over = residuals > allowed
        self._worst = int(over.nonzero()[0]) if over.any() else None
        # A single value that is all that is missing is led to by one direction.
        self.step = 1 if len(values) == self.k and int(over.sum()) == 1 else self.block
        if bool((over & (residuals <= 1.1 * rounding)).any()):
            return f"rounding of the products, of {float(rounding.max()):.2g}, is above the precision {self._tol:g}"
        return self._go_on(space, ritz, allowed, bool(over.any()) or len(values) < self.k)

    def _go_on(self, space: Krylov, ritz: Ritz, allowed: Tensor, imprecise: bool) -> str | None:
        raise NotImplementedError

    def wanted(self, ritz: Ritz) -> Tensor | None:
        """Return the state whose residual is to fall; None where all are small."""
        return None if self._worst is None else ritz.states[:, self._worst]


class _One(_Search):
    """A single eigenvalue, which is taken when it has stayed for some steps."""

    def __init__(self, tol: float) -> None:
        super().__init__(1, tol)
        self._stayed = 0
        self._value = -math.inf

    def _go_on(self, space: Krylov, ritz: Ritz, allowed: Tensor, imprecise: bool) -> str | None:
        value = float(ritz.values[0])
        if imprecise or value - self._value > float(allowed[0]):
            self._stayed, self._value = 0, value
        self._stayed += not imprecise
        return "" if not imprecise and (self._stayed >= _STEADY or space.exhausted) else None


class _Several(_Search):
    """Several eigenvalues, which are taken when all differ, or when a fresh start has found no others."""

    def __init__(self, k: int, tol: float) -> None:
        super().__init__(k, tol, block=2)
        self._before: Tensor | None = None
        self._steps = 0
        self._most = 0

    def _go_on(self, space: Krylov, ritz: Ritz, allowed: Tensor, imprecise: bool) -> str | None:
        self._steps += 1
        if imprecise:
            if space.exhausted:
                self._start_afresh(ritz)
            return None
        found = self.k
        if self._before is not None:
            known = torch.nn.functional.pad(self._before, (0, self.k - len(self._before)), value=-math.inf)
            found = int((ritz.values[: self.k] - known > allowed).sum())
        if self._before is None or not space.live or self._settled(space, ritz, allowed, found):
            if not found:
                return ""
            if self._before is None and not self._agreeing(ritz, allowed):
                return ""
            self._start_afresh(ritz)
        return None

    def _agreeing(self, ritz: Ritz, allowed: Tensor) -> bool:
        values = ritz.values[: self.k]
        return bool((values[:-1] - values[1:] <= allowed[:-1] + allowed[1:]).any())

    def _start_afresh(self, ritz: Ritz) -> None:
        self.afresh, self.block = True, 1
        self._most = self._most or self._steps
        self._before, self._steps = ritz.values[: self.k].clone(), 0

    def _settled(self, space: Krylov, ritz: Ritz, allowed: Tensor, found: int) -> bool:
        """Tell whether a copy that displaces the last value would have come up by now."""
        values, low = ritz.values[: self.k], float(ritz.values[-1])
        higher = values[values > values[-1] + allowed[-1]]
        if self._steps >= self._most or not len(higher) or len(ritz.values) == self.k:
            return self._steps >= min(2, self._most)
        gap, rest = float(higher[-1] - ritz.values[self.k]), float(ritz.values[self.k]) - low
        if rest <= 0:
            return True
        # The best polynomial of this degree, small on the rest of the spectrum, against the copy's share of the start.
        growth = math.cosh(max(self._steps - 1 - found, 0) * math.acosh(1 + 2 * gap / rest))
        return math.sqrt(2 * space.size * rest / (math.pi * gap)) <= _OVERLOOKED * growth
