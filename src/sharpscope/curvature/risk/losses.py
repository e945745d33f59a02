"""Losses of one sample, with what the closed forms need of them: gradient and Hessian in the outputs.

Everything here works on float64 outputs, whatever the model's precision. Near a minimum ``p_y`` is close to one and
``1 - p_y`` is what all curvature is made of; in float32 it would have no digits left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpscope.errors import SharpscopeError

Evaluated = Callable[[], tuple[Tensor, Tensor]]


class Loss(Protocol):
    """A loss of single samples, as a function of outputs ``f`` of shape ``[B, C]``.

    Attributes:
        additive: Whether a sample's loss is the same whatever other samples there are.
    """

    additive: bool

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss whose plain mean over some samples is the mean that its user means.

        Args:
            look: Returns the outputs ``[B, C]`` and targets of a few of the samples.
            every: The targets of all samples, batch by batch.

        Raises:
            SharpscopeError: If there is no such loss.
        """

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses, shape ``[B]``; differentiable in the outputs, in their precision."""

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``dl/df``, shape ``[B, C]``."""

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``d2l/df2``, shape ``[B, C, C]``."""

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return ``(d2l/df2) u`` for one vector a sample, ``u`` of shape ``[B, C]``: shape ``[B, C]``."""

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return ``tr(W^T (d2l/df2) W)`` for ``gram = W W^T`` of shape ``[C, C]``: shape ``[B]``."""

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return ``u_k^T (d2l/df2) u_k`` for directions ``u`` of shape ``[C, K]``: shape ``[B, K]``."""

    def curvature_directions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return directions v ``[B, R, C]`` of unit length and weights w ``[B, R]``, R <= C.

        They make up the Hessian: ``d2l/df2 = sum_r w_r v_r v_r^T``.
        """


class _Plain:
    """A loss that means the plain mean over samples."""

    additive = True

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss itself; nothing is looked at."""
        return self  # type: ignore[return-value]


class CrossEntropy(_Plain):
    """Softmax cross-entropy with class indices as targets."""

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``-log p_y``."""
        return F.cross_entropy(outputs, class_indices(outputs, targets), reduction="none")

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``p - e_y``."""
        vertex, away = _from_vertex(outputs)
        one_hot = F.one_hot(class_indices(outputs, targets), outputs.shape[1])
        # Integers first: where the target is the most probable class, 1 - 1 must leave nothing behind.
        return away + (F.one_hot(vertex, outputs.shape[1]) - one_hot)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``diag(p) - p p^T``."""
        p = outputs.softmax(dim=1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return ``p (u - <p, u>)``."""
        p = outputs.softmax(dim=1)
        # Differences to the entry of the most probable class, so that nothing cancels where it has nearly all of p.
        centered = vectors - vectors.gather(1, outputs.argmax(dim=1, keepdim=True))
        weighted = p * centered
        return weighted - p * weighted.sum(dim=1, keepdim=True)

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return the variance of the rows w_c under ``p``: ``sum_c p_c |w_c|^2 - |sum_c p_c w_c|^2``."""
        vertex, away = _from_vertex(outputs)
        products = away @ gram
        at_vertex = products.gather(1, vertex[:, None]).squeeze(1)
        return (away @ gram.diagonal() - 2 * at_vertex - (products * away).sum(dim=1)).clamp_min(0)

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return the variance of ``u_k`` under ``p``: ``sum_c p_c u_ck^2 - (sum_c p_c u_ck)^2``."""
        vertex, away = _from_vertex(outputs)
        at_vertex = directions[vertex]
        first = away @ directions
        return (away @ directions.square() - first * (2 * at_vertex + first)).clamp_min(0)

    def curvature_directions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the C - 1 columns of ``fisher_roots``, whose digits do not cancel."""
        roots = fisher_roots(outputs).mT
        lengths = roots.norm(dim=2)
        return roots / lengths.clamp_min(torch.finfo(roots.dtype).tiny)[:, :, None], lengths.square()


class ModifiedCrossEntropy:
    r"""Cross-entropy with class weights, label smoothing and ignored targets, as ``torch.nn.CrossEntropyLoss`` has it.

    With smoothing s it is :math:`-\sum_c t_c \log p_c`, :math:`t_c = w_c ((1 - s) y_c + s / C)`: its curvature is that
    of cross-entropy times :math:`\sum_c t_c`. Targets are class indices ``[B]``, which stand for one-hot y, or class
    probabilities y ``[B, C]``.

    Args:
        weight: w, shape ``[C]``; ones when None.
        smoothing: s.
        ignored: Samples with this target have no loss.
        scale: What all losses are multiplied by.
        additive: Whether the mean is plain; else ``fitted`` finds the scale for the samples at hand.
    """

    def __init__(
        self, weight: Tensor | None, smoothing: float, ignored: int, scale: float = 1.0, additive: bool = False
    ) -> None:
        self._weight = None if weight is None else weight.detach()
        self._smoothing = smoothing
        self._ignored = ignored
        self._scale = scale
        self._plain = CrossEntropy()
        self.additive = additive

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss whose plain mean is PyTorch's mean: for class indices it divides by the sum of weights."""
        if self.additive:
            return self
        count, total = 0, 0.0
        for targets in every:
            count += len(targets)
            total += self._weight_of(targets.cpu())
        if not count:
            return self
        if not total > 0:
            raise SharpscopeError("the loss gives no sample any weight; check its class weights and ignore_index")
        plain = self._weight is None and total == count
        if plain and not self._smoothing and not targets.is_floating_point():
            return self._plain
        return ModifiedCrossEntropy(self._weight, self._smoothing, self._ignored, count / total, additive=plain)

    def _weight_of(self, targets: Tensor) -> float:
        """Return what PyTorch's mean divides by."""
        if targets.is_floating_point():
            return len(targets)
        kept = targets[targets != self._ignored]
        if self._weight is None:
            return len(kept)
        # Targets that are no classes of these are refused where losses are evaluated.
        known = kept[(kept >= 0) & (kept < len(self._weight))].long()
        return float(self._weight.cpu().double()[known].sum())

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``-sum_c t_c log p_c``."""
        return -(self._wanted(outputs, targets) * outputs.log_softmax(dim=1)).sum(dim=1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``sum_c t_c p - t``."""
        wanted = self._wanted(outputs, targets)
        vertex, away = _from_vertex(outputs)
        total = wanted.sum(dim=1, keepdim=True)
        return total * away + (total * F.one_hot(vertex, outputs.shape[1]) - wanted)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``sum_c t_c (diag(p) - p p^T)``."""
        return self._total(outputs, targets)[:, None, None] * self._plain.hessian(outputs, targets)

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return ``sum_c t_c p (u - <p, u>)``."""
        return self._total(outputs, targets)[:, None] * self._plain.hessian_product(outputs, targets, vectors)

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return that of cross-entropy times ``sum_c t_c``."""
        return self._total(outputs, targets) * self._plain.curvature_trace(outputs, targets, gram)

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return that of cross-entropy times ``sum_c t_c``."""
        return self._total(outputs, targets)[:, None] * self._plain.curvature_along(outputs, targets, directions)

    def curvature_directions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of cross-entropy, with weights times ``sum_c t_c``."""
        directions, weights = self._plain.curvature_directions(outputs, targets)
        return directions, self._total(outputs, targets)[:, None] * weights

    def _total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._wanted(outputs, targets).sum(dim=1)

    def _wanted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return t of all samples, ``[B, C]``."""
        classes = outputs.shape[1]
        if self._weight is not None and len(self._weight) != classes:
            raise SharpscopeError(f"the loss has {len(self._weight)} class weights and the model {classes} outputs")
        if targets.is_floating_point() and targets.shape == outputs.shape:
            chosen, ignored = targets.to(outputs), torch.zeros_like(targets[:, 0], dtype=torch.bool)
        else:
            ignored = targets == self._ignored
            indices = class_indices(outputs, targets.masked_fill(ignored, 0))
            chosen = F.one_hot(indices, classes).to(outputs)
        wanted = chosen * (1 - self._smoothing) + self._smoothing / classes
        if self._weight is not None:
            wanted = wanted * self._weight.to(outputs)
        return self._scale * wanted.masked_fill(ignored[:, None], 0.0)


class MeanSquaredError(_Plain):
    """The mean over outputs of squared differences, as ``torch.nn.MSELoss`` has it."""

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``mean_c (f_c - y_c)^2``."""
        return (outputs - _regression_targets(outputs, targets)).square().mean(dim=1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``2 (f - y) / C``."""
        return (outputs - _regression_targets(outputs, targets)) * (2 / outputs.shape[1])

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ``(2 / C) I``."""
        size = outputs.shape[1]
        eye = torch.eye(size, dtype=outputs.dtype, device=outputs.device) * (2 / size)
        return eye.expand(outputs.shape[0], size, size)

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return ``(2 / C) u``."""
        return vectors * (2 / outputs.shape[1])

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return ``(2 / C) |W|^2``, the same for every sample."""
        return (gram.trace() * (2 / outputs.shape[1])).expand(outputs.shape[0])

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return ``(2 / C) |u_k|^2``, the same for every sample."""
        along = directions.square().sum(dim=0) * (2 / outputs.shape[1])
        return along.expand(outputs.shape[0], -1)

    def curvature_directions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the C unit vectors, each with the weight ``2 / C``."""
        size, classes = outputs.shape
        unit = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
        return unit.expand(size, classes, classes), torch.full_like(outputs, 2 / classes)


def fisher_roots(outputs: Tensor) -> Tensor:
    """Return S_n with ``S S^T = diag(p) - p p^T`` and C - 1 columns: shape ``[B, C, C - 1]``.

    It is ``(diag(sqrt p) - p sqrt(p)^T) Q``, the columns of Q those of a Householder reflection that are orthogonal to
    sqrt(p). Nothing cancels where one class has nearly all probability.
    """
    root = outputs.softmax(dim=1).sqrt()
    vertex = root.argmax(dim=1, keepdim=True)
    size, classes = root.shape
    mirror = root.scatter_add(1, vertex, torch.ones_like(vertex, dtype=root.dtype))
    mirror = mirror / (1 + root.gather(1, vertex))
    reflected = torch.eye(classes).to(root) - mirror[:, :, None] * root[:, None, :]
    every = torch.arange(classes, device=root.device).expand(size, classes)
    others = every[every != vertex].view(size, 1, classes - 1).expand(-1, classes, -1)
    return root[:, :, None] * reflected.gather(2, others)


def eigenvectors_of(hessians: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit eigenvectors ``[B, C, C]``, one a row, and eigenvalues ``[B, C]`` of symmetric ``[B, C, C]``.

    Where a matrix is not finite, its eigenvalues are no numbers.
    """
    finite = hessians.isfinite().all(dim=(1, 2))
    values, vectors = torch.linalg.eigh(hessians.masked_fill(~finite[:, None, None], 0.0))
    return vectors.mT, values.masked_fill(~finite[:, None], torch.nan)


def _from_vertex(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable class r and ``p - e_r``, whose entry at r is summed from the small ones."""
    p = outputs.softmax(dim=1)
    vertex = outputs.argmax(dim=1, keepdim=True)
    away = p.scatter(1, vertex, 0.0)
    return vertex.squeeze(1), away.scatter(1, vertex, -away.sum(dim=1, keepdim=True))


def class_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets as class indices of the outputs ``[B, C]``, shape ``[B]``.

    Raises:
        SharpscopeError: If they are none.
    """
    if targets.shape != outputs.shape[:1] or targets.is_floating_point():
        raise SharpscopeError(
            f"cross_entropy expects one class index a sample, an integer tensor of shape ({outputs.shape[0]},), "
            f"got {targets.dtype} of shape {tuple(targets.shape)}; make indices of them with argmax, squeeze "
            "or long, or pass a loss for what they are, such as nn.CrossEntropyLoss() for class probabilities"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise SharpscopeError(
            f"class indices must lie between 0 and {outputs.shape[1] - 1}, since the model has {outputs.shape[1]} "
            f"outputs; got indices from {low} to {high}; if one of them stands for samples that do not count, pass "
            "nn.CrossEntropyLoss(ignore_index=...) as loss"
        )
    return targets.long()


def _regression_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.numel() != outputs.numel():
        raise SharpscopeError(
            f"mse expects targets of the outputs' shape {tuple(outputs.shape)}, got {tuple(targets.shape)}; "
            "class indices must be made one-hot first"
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)
