"""Trace and Frobenius norm of a symmetric matrix, from random probes beside a part that is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sharpscope.curvature.estimators.basis import orthonormal
from sharpscope.curvature.estimators.driver import Algorithm

# Probes that are in memory together, with their products.
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class ProbeValues:
    """The trace and the squared Frobenius norm, each from independent probes beside a part that is known.

    Attributes:
        trace: One unbiased value a probe; their mean is the estimate.
        square: The same for the squared Frobenius norm.
        products: How many products were made.
        blocks: The same as ``trace`` for some diagonal blocks.
    """

    trace: list[float]
    square: list[float]
    products: int
    blocks: dict[str, list[float]] = field(default_factory=dict)


def deflated_probes(
    size: int,
    generator: torch.Generator,
    *,
    sketch: int = 8,
    probes: int = 16,
    further: Callable[[ProbeValues], int] = lambda _: 0,
    blocks: dict[str, slice] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Algorithm[ProbeValues]:
    """Estimate trace and Frobenius norm by random probes outside of a sketched subspace, and exactly inside.

    With Q a basis of the image of some random vectors, ``tr(A) = tr(Q^T A Q) + E[g^T A g]`` with g a random vector made
    orthogonal to Q: what few large eigenvalues contribute has no error. Given Q the probes are independent, so the
    standard error over them is right. A diagonal block has ``tr(A_b) = tr((Q Q^T A)_b) + E[r_b^T ((1 - Q Q^T) A r)_b]``
    with r a random vector.

    Args:
        size: P.
        generator: Where vectors are drawn from.
        sketch: The dimension of the subspace; 0 for plain Hutchinson probes.
        probes: Probes of the first round.
        further: Told the values so far, says how many more probes to make; 0 ends.
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
    known_blocks = dict.fromkeys(blocks, 0.0)
    found = ProbeValues([], [], sketch, {name: [] for name in blocks})
    wanted = probes
    while wanted > 0:
        raw = _signs(min(wanted, _MOST_AT_ONCE), size, generator, dtype)
        weights = raw @ inside.T
        asked = torch.addmm(raw, weights, inside, alpha=-1)
        if not found.trace:
            asked = torch.cat([inside, asked])
        answer = yield asked
        found = ProbeValues(found.trace, found.square, found.products + len(asked), found.blocks)
        if not found.trace:
            images, answer = answer[: len(inside)], answer[len(inside) :]
            known_trace = _product(inside, images)
            known_square = float(images.double().square().sum())
            known_blocks = {name: _product(inside[:, span], images[:, span]) for name, span in blocks.items()}
        for g, image, r, inner in zip(asked[-len(raw) :], answer, raw, weights, strict=True):
            found.trace.append(known_trace + _product(g, image))
            found.square.append(known_square + _product(image, image))
            if blocks:
                outside = image + inner @ images
                outside -= (images @ r) @ inside
            for name, span in blocks.items():
                found.blocks[name].append(known_blocks[name] + _product(r[span], outside[span]))
        wanted = wanted - len(raw) or further(found)
    return found


def _product(a: Tensor, b: Tensor) -> float:
    return float((a * b).double().sum())


def _signs(count: int, size: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    bits = torch.randint(0, 2, (count, size), generator=generator, device=generator.device, dtype=torch.int8)
    return bits.to(dtype).mul_(2).sub_(1)
