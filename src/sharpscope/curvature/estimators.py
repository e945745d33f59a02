"""Estimators of a symmetric matrix that is known by its products only.

Each is a generator that yields blocks of vectors, rows of shape ``[k, P]``, receives their products, and returns what
it found; it knows nothing of networks, and is tested on plain matrices:

>>> matrix = torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1]))
>>> found = drive(deflated_moments(4, torch.Generator().manual_seed(0), sketch=4), lambda v: v @ matrix)
>>> round(found.trace[0], 4)
4.6
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from sharpscope.curvature.basis import orthonormal
from sharpscope.curvature.krylov import Krylov

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
        inside = orthonormal((yield _signs(sketch, size, generator, dtype)))
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
        matrices: The matrix within the Krylov space of each start.
        whole: By start, whether its Krylov space is all that it leads to, so that its points are the eigenvalues.
    """

    nodes: Tensor
    weights: Tensor
    products: int
    matrices: list[Tensor]
    whole: list[bool]

    def below(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the share of eigenvalues below a threshold by start, and how far it may be off that of the start.

        The points replace a spectrum of far more, and their share below the threshold is that of the spectrum only
        within bounds, which are the best that are known from as many moments.

        Reference: the Chebyshev-Markov-Stieltjes inequalities, with the threshold for a point of the quadrature; Golub,
            "Some Modified Matrix Eigenvalue Problems", 1973, for how it is made one.
        """
        share = (self.weights * (self.nodes < threshold)).sum(dim=1)
        bounds = [_bounds(matrix, threshold) for matrix in self.matrices]
        off = [max(high - g, g - low, 0.0) for (low, high), g in zip(bounds, share.tolist(), strict=True)]
        return share, torch.tensor([0.0 if whole else e for e, whole in zip(off, self.whole, strict=True)])


def _bounds(matrix: Tensor, threshold: float) -> tuple[float, float]:
    """Return the least and the largest share of the start's spectrum that may lie below a threshold."""
    if len(matrix) == 1:
        return 0.0, 1.0
    inner, coupling = matrix[:-1, :-1], matrix[:-1, -1]
    shifted = inner - threshold * torch.eye(len(inner), dtype=matrix.dtype)
    bent = matrix.clone()
    bent[-1, -1] = threshold + coupling @ torch.linalg.lstsq(shifted, coupling[:, None]).solution[:, 0]
    values, states = torch.linalg.eigh(bent)
    weights = states[0].square()
    at = int((values - threshold).abs().argmin())
    low = float(weights[:at].sum())
    return low, low + float(weights[at])


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
    spaces = [Krylov(size, generator, dtype) for _ in range(starts)]
    for space, start in zip(spaces, _signs(starts, size, generator, dtype), strict=True):
        space.start(start)
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
    nodes = torch.zeros(starts, steps, dtype=torch.float64)
    weights = torch.zeros(starts, steps, dtype=torch.float64)
    for i, space in enumerate(spaces):
        ritz = space.ritz()
        nodes[i, : len(ritz.values)], weights[i, : len(ritz.values)] = ritz.values, ritz.states[0].square()
    matrices = [(space.projected + space.projected.T) / 2 for space in spaces]
    return Spectrum(nodes, weights, products, matrices, [space.exhausted for space in spaces])


def _signs(count: int, size: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    bits = torch.randint(0, 2, (count, size), generator=generator, device=generator.device, dtype=torch.int8)
    return bits.to(dtype).mul_(2).sub_(1)
