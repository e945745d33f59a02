"""The spectral density of a symmetric matrix, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpscope.curvature.estimators.driver import Algorithm
from sharpscope.curvature.estimators.krylov import Krylov, Ritz

# The cosine of the angle within which two starts have found the same eigenvector.
_ALIKE = 0.9995


@dataclass(frozen=True)
class Spectrum:
    """A spectral density as weighted points, one row a random start.

    Attributes:
        nodes: Eigenvalues, ``[starts, steps]``.
        weights: Their shares, non-negative, each row adds up to 1.
        known: Which of the points are eigenvalues that all starts agree on, whose share is exactly 1 / size,
            ``[starts, steps]``.
        size: The number of eigenvalues, P.
        products: How many products were made.
        doubt: By start, how far its share below a threshold may be off that of its own spectrum.
    """

    nodes: Tensor
    weights: Tensor
    known: Tensor
    size: int
    products: int
    doubt: Callable[[float], Tensor]

    @property
    def unknown(self) -> int:
        """How many eigenvalues are told by the random starts alone."""
        return self.size - int(self.known[0].sum())

    def total(self, values: Tensor) -> tuple[float, float]:
        """Return the sum of a function over all eigenvalues, and its standard error.

        For a random vector z, uniform on a sphere in n dimensions, ``n z^T B z / |z|^2`` has the mean ``tr(B)`` and the
        variance ``2 n^2 / (n + 2)`` times that of the eigenvalues of B. The density itself tells the latter, so that
        the error of two starts is known as well as that of many, which their spread would not tell.

        Args:
            values: The function at the nodes, ``[starts, steps]``.
        """
        value = self.size * float((self.weights * values).sum(dim=1).mean())
        return value, self._error(self._variance(values))

    def share_below(self, threshold: float) -> tuple[float, float]:
        """Return the share of eigenvalues below a threshold, and its standard error.

        The error joins that of the random starts and how far the share of so few points may be off that of the
        spectrum that they stand for.
        """
        below = (self.nodes < threshold).double()
        count, _ = self.total(below)
        if self.unknown == 0:
            return count / self.size, 0.0
        doubt = float(self.doubt(threshold).mean())
        rest = count - float((below * self.known)[0].sum())
        # The share among the unknown that leaves most to chance, of those that are possible.
        share = rest / self.unknown
        share += min(max(0.5 - share, -doubt), doubt)
        return count / self.size, math.hypot(self._error(share * (1 - share)) / self.size, doubt)

    def _variance(self, values: Tensor) -> float:
        # A point stands for one eigenvalue at least, even where the starts hardly see it.
        weights = self.weights.clamp_min(1 / self.size) * (~self.known & (self.weights > 0))
        weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
        return float((weights * (values - (weights * values).sum()).square()).sum())

    def _error(self, variance: float) -> float:
        n = self.unknown
        return n * math.sqrt(2 * max(variance, 0.0) / ((n + 2) * len(self.nodes)))


def share_bounds(matrix: Tensor, threshold: float) -> tuple[float, float, float]:
    """Return the share of a quadrature below a threshold, and the bounds of that of the spectrum that it stands for.

    The points replace a spectrum of far more, and the bounds are the best that are known from as many moments.

    Args:
        matrix: The matrix within the Krylov space of the start, which is the first vector of its basis.
        threshold: Where to count.

    Reference: the Chebyshev-Markov-Stieltjes inequalities, with the threshold for a point of the quadrature; Golub,
        "Some Modified Matrix Eigenvalue Problems", 1973, for how it is made one.
    """
    values, weights = _points(matrix)
    share = float(weights[values < threshold].sum())
    if len(matrix) == 1:
        return share, 0.0, 1.0
    inner, coupling = matrix[:-1, :-1], matrix[:-1, -1]
    shifted = inner - threshold * torch.eye(len(inner), dtype=matrix.dtype)
    bent = matrix.clone()
    bent[-1, -1] = threshold + coupling @ torch.linalg.lstsq(shifted, coupling[:, None]).solution[:, 0]
    values, weights = _points(bent)
    at = int((values - threshold).abs().argmin())
    low = float(weights[:at].sum())
    return share, low, low + float(weights[at])


def _points(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, states = torch.linalg.eigh(matrix)
    return values, states[0].square()


def stochastic_lanczos_quadrature(
    size: int,
    generator: torch.Generator,
    *,
    starts: int = 4,
    steps: int = 24,
    dtype: torch.dtype = torch.float32,
) -> Algorithm[Spectrum]:
    """Estimate the spectral density by Lanczos from several random starts, in lockstep.

    A start gives each eigenvalue a random weight, which for a few large ones is most of the error. Where all starts
    have found the same eigenvector, it is one of the matrix and not of the start: it gets its true weight, and what is
    left is the quadrature of the starts without their parts along such vectors.

    Memory: ``starts * steps`` vectors of P numbers.

    Args:
        size: P.
        generator: Where the starts are drawn from, uniformly from the sphere.
        starts: Independent random starts; a single one has nothing to agree with.
        steps: Lanczos steps, the points of each quadrature.
        dtype: The precision of the vectors.

    Reference: Ubaru, Chen and Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature", SIMAX 2017; the
        known eigenvalues as in Hutch++ (see ``deflated_probes``).
    """
    steps = min(steps, size)
    spaces = [Krylov(size, generator, dtype) for _ in range(starts)]
    for space in spaces:
        space.start()
    active = spaces
    products = 0
    while active:
        answers = yield torch.stack([space.basis.newest for space in active])
        products += len(active)
        for space, image in zip(active, answers, strict=True):
            space.receive(image[None])
        active = [space for space in active if space.live and space.basis.count < steps]
        for space in active:
            space.follow()
    return _spectrum(spaces, steps, products)


def _spectrum(spaces: list[Krylov], steps: int, products: int) -> Spectrum:
    size, starts = spaces[0].size, len(spaces)
    found = [space.ritz() for space in spaces]
    nodes = torch.zeros(starts, steps, dtype=torch.float64)
    weights = torch.zeros(starts, steps, dtype=torch.float64)
    known = torch.zeros(starts, steps, dtype=torch.bool)
    agreed = _agreed(spaces, found)
    for i, ritz in enumerate(found):
        count = len(ritz.values)
        nodes[i, :count], weights[i, :count] = ritz.values, ritz.states[0].square()
        known[i, [rank % count for rank in agreed]] = True
    left = 1 - len(agreed) / size
    # Where every eigenvalue is known, no weight is left to be scaled.
    scales = left / (weights * ~known).sum(dim=1) if left else torch.zeros(starts, dtype=torch.float64)
    weights = torch.where(known, 1 / size, weights * scales[:, None])

    def doubt(threshold: float) -> Tensor:
        off = torch.zeros(starts, dtype=torch.float64)
        for i, space in enumerate(spaces):
            if not space.exhausted:
                share, low, high = share_bounds((space.projected + space.projected.T) / 2, threshold)
                off[i] = max(high - share, share - low, 0.0)
        return off * scales

    return Spectrum(nodes, weights, known, size, products, doubt)


def _agreed(spaces: list[Krylov], found: list[Ritz]) -> list[int]:
    """Return the ranks, from both ends inwards, at which all starts have found the same eigenvector.

    Those from the lower end are negative. Starts have different parts of the space of a multiple eigenvalue, which
    stays with what is random: how often it occurs is not known.
    """
    if len(spaces) < 2:
        return []
    fewest = min(len(ritz.values) for ritz in found)
    room = fewest if fewest == spaces[0].size else fewest - 1
    ranks: list[int] = []
    for step in (1, -1):
        rank = 0 if step > 0 else -1
        while len(ranks) < room and _alike(
            [space.basis.combined(ritz.states[:, rank, None]) for space, ritz in zip(spaces, found, strict=True)]
        ):
            ranks.append(rank)
            rank += step
    return ranks


def _alike(vectors: list[Tensor]) -> bool:
    rows = torch.cat(vectors)
    return bool((rows @ rows.T).abs().min() >= _ALIKE)
