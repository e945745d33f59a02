"""Information geometric sharpness: the gradients of the samples in the metric of the model's Fisher information."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.passes.output_gram import output_gram
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, Reservoir
from sharpscope.curvature.risk.losses import CrossEntropy, class_indices, fisher_roots
from sharpscope.errors import NotDefined
from sharpscope.seeding import Stream

# Eigenvalues below this share of the largest count as zero.
_CUT = 1e-6
# The side of the matrix whose eigenvalues are found: 512 MB in float64.
_MOST_ROWS = 8192
_SAMPLES = 512
_PIECE = 64
_POWER_STEPS = 50


@measure(
    MeasureFacts(
        label="Information geometric sharpness",
        symbol=r"E[g^T F^+ g]",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="m (C - 1) backward passes of single samples, (m (C - 1))^2 P products, and eigenvalues of that side",
        exact=False,
        scale="ratio",
        reference='Jang et al., "A Reparametrization-Invariant Sharpness Measure Based on Information Geometry", '
        "NeurIPS 2022",
        caveats=(
            "At full rank, which overparameterized models reach, it is sum_n (exp(l_n) - 1) over the m samples: the "
            "loss alone, growing with m; short of full rank it stays near. The form of the head escapes this when "
            "m (C - 1) > C (D + 1).",
            "Compare values of the same m only.",
            "Invariance holds up to the cut of the eigenvalues, whose sizes a reparametrization changes.",
        ),
    )
)
def information_geometric_sharpness(
    risk: Risk,
    *,
    parameters: Literal["all", "head"] = "all",
    samples: Annotated[int, Field(ge=1)] | None = None,
) -> Steps:
    r"""Mean squared length of the samples' gradients in the metric of the Fisher information (larger is sharper).

    .. math:: E[g_n^T F^+ g_n], \quad F = E[J_n^T (\mathrm{diag}(p) - p p^T) J_n]

    with F over the same m samples and its eigenvalues below :math:`10^{-6}` of the largest taken as zero. It is
    computed from :math:`K = B B^T`, B the stacked :math:`Q_n^T R_n^T J_n / \sqrt{m}`, with
    :math:`R = \mathrm{diag}(\sqrt p) - p \sqrt{p}^T` and Q_n a basis of what is orthogonal to :math:`\sqrt{p_n}`, which
    R maps to zero: :math:`\sum_n a_n^T [K K^+]_{nn} a_n`, :math:`a_n = -Q_n^T R_n^T e_y / p_y`.

    **What the full form is.** The rank is at most m (C - 1). Where it is reached, as by any subset that the model is
    overparameterized for, :math:`K K^+` is the identity and the value is :math:`\sum_n (1 - p_y) / p_y = \sum_n
    (e^{l_n} - 1)`: pure loss, whatever the geometry (``details["full_rank"]``; ``details["loss_form"]`` is that sum).
    Eigenvalues that are cut change little, since the samples that count have the large ones.
    ``parameters="head"`` takes gradients and F in the weight and bias of the head only, over enough samples that
    m (C - 1) > C (D + 1).

    Jacobians are never held as a whole: memory is that of four matrices of side m (C - 1) (C (D + 1) for the head where
    that is smaller) in float64 and 1 GB, whatever N and nearly whatever P. In float32 the eigenvalues near the cut have
    few digits, but what lies there carries little of the value: of a trained network it kept six digits.

    Args:
        risk: Model and N samples with class indices as targets; cross-entropy.
        parameters: "all", or "head" for those of the final linear layer.
        samples: m, drawn without replacement in a way that no cut into batches changes. When None, as many as are
            there up to 512, or for the head up to 4 C (D + 1) / (C - 1) if that is more; fewer where the matrix would
            have more than 8,192 rows.

    Returns:
        The value for these samples. ``stderr`` is what their choice among the N leaves, by the jackknife over them: as
        a value of m samples, which is no estimate of that of more. It is 0 where all are taken.

    Raises:
        NotDefined: If the loss is not cross-entropy, or there are fewer than two outputs.
        HeadNotFound: For the head, if the model has none.
    """
    if not isinstance(risk.loss, CrossEntropy):
        raise NotDefined("information_geometric_sharpness is defined for loss='cross_entropy' only")
    drawn = _Drawn(samples, risk.stream.child("information_geometric_sharpness"), head=parameters == "head")
    yield drawn
    batches, outputs, targets = drawn.finish()
    roots = fisher_roots(outputs)
    weights = -roots.gather(1, targets[:, None, None].expand(-1, 1, roots.shape[2])).squeeze(1)
    weights = weights / outputs.softmax(dim=1).gather(1, targets[:, None])
    if parameters == "head":
        found = _head_form(torch.cat([batch.inputs for batch in batches]), roots, weights)
    else:
        found = _full_form(risk, batches, roots, weights)
    most = weights.numel()
    return Estimate(
        found.value,
        stderr=found.error_of_draw(drawn.population),
        samples=len(targets),
        details={
            "parameters": parameters,
            "population": drawn.population,
            "rank": found.rank,
            "rank_cap": most,
            "full_rank": found.rank == most,
            "loss_form": float(weights.square().sum()),
        },
    )


class _Drawn(Reduction):
    """The m samples, their outputs and, for the head, their features with a constant 1 for its bias."""

    needs = Need.OUTPUTS | Need.DERIVATIVES

    def __init__(self, samples: int | None, stream: Stream, *, head: bool) -> None:
        if head:
            self.needs = Need.FEATURES
        self._samples = samples
        self._stream = stream
        self._head = head
        self._reservoir: Reservoir | None = None

    def update(self, evaluation: Evaluation) -> None:
        """Offer a batch."""
        outputs, batch = evaluation.outputs, evaluation.batch
        if outputs.shape[1] < 2:
            raise NotDefined("information_geometric_sharpness needs at least two outputs, got one")
        kept: Any = batch.inputs
        if self._head:
            kept = self._features(evaluation)
        targets = class_indices(outputs, evaluation.targets)
        if self._reservoir is None:
            self._reservoir = Reservoir(self._size(outputs, kept), self._stream)
        self._reservoir.add(Batch((kept, outputs), targets))

    def _features(self, evaluation: Evaluation) -> Tensor:
        assert evaluation.features is not None
        assert evaluation.head is not None
        assert evaluation.head.module is not None
        features = evaluation.features.to(evaluation.risk.precise)
        biased = evaluation.head.module.bias is not None
        return torch.cat([features, torch.ones_like(features[:, :1])], dim=1) if biased else features

    def _size(self, outputs: Tensor, kept: Any) -> int:
        if self._samples is not None:
            return self._samples
        ranks = outputs.shape[1] - 1
        if not self._head:
            return max(1, min(_SAMPLES, _MOST_ROWS // ranks))
        side = outputs.shape[1] * kept.shape[1]
        return max(_SAMPLES, -(-4 * side // ranks)) if side <= _MOST_ROWS else max(1, _MOST_ROWS // ranks)

    def finish(self) -> tuple[list[Batch], Tensor, Tensor]:
        """Return the samples in small batches, the outputs ``[m, C]`` in float64, and the targets ``[m]``.

        The batches' inputs are what was kept: the model's inputs, or for the head the features.
        """
        assert self._reservoir is not None
        self.population = self._reservoir.seen
        pieces = self._reservoir.batches(_PIECE)
        outputs = torch.cat([piece.inputs[1] for piece in pieces])
        targets = torch.cat([piece.targets for piece in pieces])
        return [Batch(piece.inputs[0], piece.targets) for piece in pieces], outputs, targets


@dataclass(frozen=True)
class _Found:
    """A value, and those without each of the m samples.

    Attributes:
        value: With all of them.
        rank: That of F.
        without: Shape ``[m]``.
    """

    value: float
    rank: int
    without: Tensor

    def error_of_draw(self, population: int) -> float:
        """Return the standard error, by the jackknife, of the m samples' value as one of any m out of a population."""
        size = len(self.without)
        if size >= population or not math.isfinite(self.value):
            return 0.0
        if size == 1:
            return math.inf
        spread = (size - 1) * float(self.without.var(correction=0))
        return math.sqrt((1 - size / population) * spread)


def _undefined(weights: Tensor) -> _Found:
    return _Found(math.nan, 0, torch.full_like(weights[:, 0], math.nan))


def _full_form(risk: Risk, batches: list[Batch], roots: Tensor, weights: Tensor) -> _Found:
    cotangents = roots.transpose(1, 2) / len(roots) ** 0.5
    gram = output_gram(risk, batches, cotangents.split([batch.size for batch in batches]))
    return _explained(gram, weights)


def _head_form(features: Tensor, roots: Tensor, weights: Tensor) -> _Found:
    """Take the gradients ``g_n = -S_n a_n x phi_n`` and F = E[S S^T x phi phi^T] of the head, on the smaller side."""
    size = len(features)
    side = roots.shape[1] * features.shape[1]
    if side >= weights.numel():
        inner = (features @ features.T)[:, None, :, None] * torch.einsum("ncr,mcs->nrms", roots, roots)
        return _explained(inner.flatten(2).flatten(0, 1) / size, weights)
    pieces = list(zip(features.split(_PIECE), roots.split(_PIECE), weights.split(_PIECE), strict=True))

    def rows_of(phi: Tensor, root: Tensor) -> Tensor:
        return torch.einsum("ncr,nd->nrcd", root, phi).flatten(2) / size**0.5

    fisher = features.new_zeros(side, side)
    for phi, root, _ in pieces:
        rows = rows_of(phi, root).flatten(0, 1)
        fisher += rows.T @ rows
    if not fisher.isfinite().all():
        return _undefined(weights)
    values, vectors = torch.linalg.eigh(fisher)
    kept = values > _CUT * values[-1]
    whitened = vectors[:, kept] / values[kept].sqrt()
    return _jackknifed(lambda: ((rows_of(phi, root) @ whitened, weight) for phi, root, weight in pieces))


def _jackknifed(pieces: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> _Found:
    """Return ``sum_n a_n^T H_nn a_n``, and the same without each sample, for a projection ``H = X X^T``.

    Without the sample j, the projection onto what the other rows span has the blocks
    ``H_nn + H_nj (I - H_jj)^-1 H_jn``. That is exact unless it moves which eigenvalues are cut.

    Args:
        pieces: Returns the rows X of some samples ``[n, R, rank]``, which are orthonormal columns together, and their
            a ``[n, R]``; called twice.
    """
    along = torch.cat([torch.einsum("nr,nrk->nk", weight, rows) for rows, weight in pieces()])
    own = along.square().sum(dim=1)
    factor = torch.linalg.qr(along, mode="r").R
    gained = []
    for (rows, _), y in zip(pieces(), along.split([len(weight) for _, weight in pieces()]), strict=True):
        outside = torch.eye(rows.shape[1]).to(rows) - rows @ rows.mT
        at_own = torch.einsum("nrk,nk->nr", rows, y)
        seen = rows @ factor.T
        others = seen @ seen.mT - at_own[:, :, None] * at_own[:, None, :]
        # Directions that a sample alone spans are of no use to the others: they are left out.
        inverse = torch.linalg.pinv(outside, atol=1e-9, hermitian=True)
        gained.append((inverse * others).sum(dim=(1, 2)))
    value = own.sum()
    return _Found(float(value), along.shape[1], value - own + torch.cat(gained))


def _certainly_full(gram: Tensor) -> bool:
    """Tell whether all eigenvalues lie above the cut, by a Cholesky factorization: a small part of the cost of them.

    The largest one is bounded by the Frobenius norm, and by a tenth more than what power iteration finds, which after
    so many steps is short by less. Yes is certain, no is not.
    """
    vector, largest = gram.diagonal().clone(), 0.0
    for _ in range(_POWER_STEPS):
        vector = gram @ (vector / vector.norm().clamp_min(1e-300))
        largest = float(vector.norm())
    shift = _CUT * min(1.1 * largest, float(torch.linalg.matrix_norm(gram)))
    gram.diagonal().sub_(shift)
    failed = int(torch.linalg.cholesky_ex(gram).info)
    gram.diagonal().add_(shift)
    return failed == 0


def _explained(gram: Tensor, weights: Tensor) -> _Found:
    """Return ``sum_n a_n^T [K K^+]_nn a_n`` and the rank of K.

    Args:
        gram: K, ``[m R, m R]``.
        weights: a, ``[m, R]``.
    """
    if not gram.isfinite().all():
        return _undefined(weights)
    if _certainly_full(gram):
        own = weights.square().sum(dim=1)
        return _Found(float(own.sum()), len(gram), own.sum() - own)
    values, vectors = torch.linalg.eigh(gram)
    kept = values > _CUT * values[-1]
    rows = vectors[:, kept].view(*weights.shape, -1)
    return _jackknifed(lambda: zip(rows.split(_PIECE), weights.split(_PIECE), strict=True))
