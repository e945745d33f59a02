"""Estimators of a symmetric matrix that is known by its products only.

Each is a generator that yields blocks of vectors, rows of shape ``[k, P]``, receives their products, and returns what
it found; it knows nothing of networks, and is tested on plain matrices:

>>> matrix = torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1]))
>>> found = drive(lanczos(4, torch.Generator().manual_seed(0), tol=1e-6), lambda v: v @ matrix)
>>> round(float(found.values[0]), 4)
3.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
# Probes that are in memory together, with their products.
_MOST_AT_ONCE = 16
Algorithm = Generator[Tensor, Tensor, Result]


def drive(algorithm: Algorithm[Result], multiply: Callable[[Tensor], Tensor]) -> Result:
    """Run an algorithm with a function that multiplies rows by the matrix."""
    try:
        block = next(algorithm)
        while True:
            block = algorithm.send(multiply(block))
    except StopIteration as stop:
        return stop.value


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues.

    Attributes:
        values: The k largest, in falling order; none is above the eigenvalue of its place.
        residuals: ``|A y - theta y|`` of each: an eigenvalue lies within this distance, whatever the spectrum. Its
            square over the gap to the next eigenvalue is far less, but the gap is not known: close eigenvalues look
            like one until many steps tell them apart.
        vectors: Their unit vectors, ``[k, P]``.
        products: How many products were made.
        converged: Whether all residuals are as small as asked.
    """

    values: Tensor
    residuals: Tensor
    vectors: Tensor
    products: int
    converged: bool


def lanczos(
    size: int,
    generator: torch.Generator,
    *,
    k: int = 1,
    block: int = 1,
    tol: float = 1e-3,
    budget: int = 100,
    dtype: torch.dtype = torch.float32,
) -> Algorithm[Ritz]:
    """Find the k largest eigenvalues by block Lanczos with full reorthogonalization.

    Memory: one vector of P numbers for every product.

    Args:
        size: P.
        generator: Where the start vectors are drawn from; its device is the vectors' device.
        k: How many eigenvalues.
        block: Vectors a step; a larger block shares more of the cost of a pass and needs more products in all.
        tol: The residual to reach, relative to the largest absolute value found.
        budget: At most so many products.
        dtype: The precision of the vectors.

    Reference: Golub and Underwood, "The Block Lanczos Method for Computing Eigenvalues", 1977.
    """
    k = min(k, size)
    block = min(block, size)
    start = torch.randn(block, size, generator=generator, dtype=dtype, device=generator.device)
    basis = _orthonormal(start, None)
    projected = torch.zeros(0, 0, dtype=torch.float64)
    new = basis
    while True:
        images = yield new
        images, overlap = _orthogonalized(images, basis)
        projected = _bordered(projected, overlap.double().cpu(), new.shape[0])
        following = _orthonormal(images, basis)
        coupling = (following @ images.T).double().cpu()
        values, states = torch.linalg.eigh(projected)
        values, states = values.flip(0)[:k], states.flip(1)[:, :k]
        residuals = (coupling @ states[-new.shape[0] :]).norm(dim=0)
        scale = max(float(values.abs().max()), torch.finfo(dtype).tiny)
        done = len(values) == k and bool((residuals <= tol * scale).all())
        used = basis.shape[0]
        exhausted = following.shape[0] == 0 or used >= size
        if done or exhausted or used + following.shape[0] > budget:
            vectors = states.to(basis).T @ basis
            return Ritz(values, residuals, vectors, used, done or exhausted)
        basis = torch.cat([basis, following])
        new = following


@dataclass(frozen=True)
class Moments:
    """The trace and the squared Frobenius norm, each from independent probes beside a part that is known.

    Attributes:
        trace: One unbiased value a probe; their mean is the estimate.
        square: The same for the squared Frobenius norm.
        products: How many products were made.
        blocks: The same as ``trace`` for some diagonal blocks; their probes are not deflated.
    """

    trace: list[float]
    square: list[float]
    products: int
    blocks: dict[str, list[float]] = field(default_factory=dict)


def deflated_moments(
    size: int,
    generator: torch.Generator,
    *,
    sketch: int = 8,
    probes: int = 16,
    further: Callable[[Moments], int] = lambda _: 0,
    blocks: dict[str, slice] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Algorithm[Moments]:
    """Estimate trace and Frobenius norm by random probes outside of a sketched subspace, and exactly inside.

    With Q a basis of the image of some random vectors, ``tr(A) = tr(Q^T A Q) + E[g^T A g]`` with g a random vector made
    orthogonal to Q: what few large eigenvalues contribute has no error. Given Q the probes are independent, so the
    standard error over them is right.

    Args:
        size: P.
        generator: Where vectors are drawn from.
        sketch: The dimension of the subspace; 0 for plain Hutchinson probes.
        probes: Probes of the first round.
        further: Told the moments so far, says how many more probes to make; 0 ends.
        blocks: Also estimate the trace of these diagonal blocks, from the same products.
        dtype: The precision of the vectors.

    Reference: Meyer, Musco, Musco and Woodruff, "Hutch++: Optimal Stochastic Trace Estimation", SOSA 2021.
    """
    blocks = blocks or {}
    sketch = min(sketch, size)
    inside = torch.zeros(0, size, dtype=dtype, device=generator.device)
    images = inside
    if sketch:
        inside = _orthonormal((yield _signs(sketch, size, generator, dtype)), None)
    known_trace = known_square = 0.0
    found = Moments([], [], sketch, {name: [] for name in blocks})
    wanted = probes
    while wanted > 0:
        raw = _signs(min(wanted, _MOST_AT_ONCE), size, generator, dtype)
        weights = raw @ inside.T
        asked = torch.addmm(raw, weights, inside, alpha=-1)
        if not found.trace:
            asked = torch.cat([inside, asked])
        answer = yield asked
        found = Moments(found.trace, found.square, found.products + len(asked), found.blocks)
        if not found.trace:
            images, answer = answer[: len(inside)], answer[len(inside) :]
            known_trace = float((inside * images).double().sum())
            known_square = float(images.double().square().sum())
        for g, image, r, inner in zip(asked[-len(raw) :], answer, raw, weights, strict=True):
            found.trace.append(known_trace + float((g * image).double().sum()))
            found.square.append(known_square + float(image.double().square().sum()))
            whole = image + inner @ images
            for name, span in blocks.items():
                found.blocks[name].append(float((r[span] * whole[span]).double().sum()))
        wanted = wanted - len(raw) or further(found)
    return found


@dataclass(frozen=True)
class Spectrum:
    """A spectral density as weighted points, one row a random start.

    Attributes:
        nodes: Eigenvalues, ``[starts, steps]``.
        weights: Their shares, non-negative, each row adds up to 1.
        products: How many products were made.
    """

    nodes: Tensor
    weights: Tensor
    products: int


def stochastic_lanczos_quadrature(
    size: int,
    generator: torch.Generator,
    *,
    starts: int = 4,
    steps: int = 24,
    dtype: torch.dtype = torch.float32,
) -> Algorithm[Spectrum]:
    """Estimate the spectral density by Lanczos from several random starts, in lockstep.

    Memory: ``starts * steps`` vectors of P numbers.

    Args:
        size: P.
        generator: Where the starts are drawn from.
        starts: Independent random starts; their spread is the error.
        steps: Lanczos steps, the points of each quadrature.
        dtype: The precision of the vectors.

    Reference: Ubaru, Chen and Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature", SIMAX 2017.
    """
    steps = min(steps, size)
    first = _signs(starts, size, generator, dtype) / math.sqrt(size)
    bases = [vector[None] for vector in first]
    matrices = [torch.zeros(0, 0, dtype=torch.float64) for _ in range(starts)]
    active = list(range(starts))
    products = 0
    while active:
        answers = yield torch.stack([bases[i][-1] for i in active])
        products += len(active)
        going = []
        for i, image in zip(active, answers, strict=True):
            residual, overlap = _orthogonalized(image[None], bases[i])
            matrices[i] = _bordered(matrices[i], overlap.double().cpu(), 1)
            following = _orthonormal(residual, bases[i])
            if len(following) and len(bases[i]) < steps:
                bases[i] = torch.cat([bases[i], following])
                going.append(i)
        active = going
    nodes = torch.zeros(starts, steps, dtype=torch.float64)
    weights = torch.zeros(starts, steps, dtype=torch.float64)
    for i, matrix in enumerate(matrices):
        values, states = torch.linalg.eigh(matrix)
        nodes[i, : len(values)], weights[i, : len(values)] = values, states[0].square()
    return Spectrum(nodes, weights, products)


def _signs(count: int, size: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    bits = torch.randint(0, 2, (count, size), generator=generator, device=generator.device, dtype=torch.int8)
    return bits.to(dtype).mul_(2).sub_(1)


def _orthogonalized(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of rows outside of a basis and their coordinates ``[basis, k]`` inside; twice is enough."""
    first = vectors @ basis.T
    rest = vectors - first @ basis
    second = rest @ basis.T
    return rest - second @ basis, (first + second).T


def _orthonormal(vectors: Tensor, basis: Tensor | None) -> Tensor:
    """Return orthonormal rows that span what rows add to a basis; fewer, where they add less."""
    kept: list[Tensor] = []
    before = vectors.new_zeros(0, vectors.shape[1]) if basis is None else basis
    largest = float(vectors.norm(dim=1).max())
    for vector in vectors:
        known = torch.cat([before, *(v[None] for v in kept)])
        rest, _ = _orthogonalized(vector[None], known)
        length = float(rest.norm())
        # What is left of rounding alone is no direction.
        if length > 100 * torch.finfo(vectors.dtype).eps * max(largest, torch.finfo(vectors.dtype).tiny):
            rest, _ = _orthogonalized(rest / length, known)
            kept.append(rest[0] / rest.norm())
    return torch.stack(kept) if kept else vectors.new_zeros(0, vectors.shape[1])


def _bordered(matrix: Tensor, overlap: Tensor, added: int) -> Tensor:
    """Return the projected matrix with the coordinates of the newest products as its last rows and columns."""
    old = matrix.shape[0]
    grown = torch.zeros(old + added, old + added, dtype=torch.float64)
    grown[:old, :old] = matrix
    grown[:, old:] = overlap
    grown[old:, :old] = overlap[:old].T
    corner = grown[old:, old:]
    grown[old:, old:] = (corner + corner.T) / 2
    return grown
