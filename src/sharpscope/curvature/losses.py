"""Losses of one sample, with what the closed forms need of them: gradient and Hessian in the outputs.

Everything here works on float64 outputs, whatever the model's precision. Near a minimum ``p_y`` is close to one and
``1 - p_y`` is what all curvature is made of; in float32 it would have no digits left.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope.errors import SharpscopeError, UnknownName


class Loss(Protocol):
    """A loss of single samples, as a function of outputs ``f`` of shape ``[B, C]``."""

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


class CrossEntropy:
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


class MeanSquaredError:
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


class CallableLoss:
    """A loss of the user's own, differentiated by autograd in the outputs.

    Args:
        function: Maps outputs ``[B, C]`` and targets to losses ``[B]``, one a sample, without mixing samples.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._function = function

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what the function returns, checked to be one loss a sample."""
        losses = self._function(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            came = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise SharpscopeError(
                f"a loss must return one value a sample, shape ({outputs.shape[0]},), got {came}; "
                "reduce over the outputs of a sample, not over the batch"
            )
        return losses

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient by one backward pass through the loss alone."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.values(outputs, targets).sum(), outputs)
        return gradient

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the Hessian by C backward passes through the loss alone."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            total = self.values(outputs, targets).sum()
            (gradient,) = torch.autograd.grad(total, outputs, create_graph=True)
            if not gradient.requires_grad:
                return torch.zeros(*outputs.shape, outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
            columns = gradient.sum(dim=0)
            rows = [torch.autograd.grad(c, outputs, retain_graph=True)[0] for c in columns]
        return torch.stack(rows, dim=1)

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return the products with the explicit Hessian."""
        return torch.einsum("bce,be->bc", self.hessian(outputs, targets), vectors)

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return the inner product of the explicit Hessian with ``gram``."""
        return torch.einsum("bce,ce->b", self.hessian(outputs, targets), gram)

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return the quadratic forms of the explicit Hessian."""
        return torch.einsum("ck,bce,ek->bk", directions, self.hessian(outputs, targets), directions)


def resolve_loss(loss: str | Callable[..., Any]) -> Loss:
    """Return the loss of that name, or the user's callable in the form that measures need.

    A loss module of ``torch.nn`` is taken without its reduction, and in float64; the risk is always the plain mean over
    samples.

    Raises:
        UnknownName: If the name is none of ``cross_entropy`` and ``mse``.
        SharpscopeError: If it is neither a name nor callable.
    """
    known: dict[str, Loss] = {"cross_entropy": CrossEntropy(), "mse": MeanSquaredError()}
    if type(loss) is nn.MSELoss:
        return known["mse"]
    if type(loss) is nn.CrossEntropyLoss and loss.weight is None and not loss.label_smoothing:
        return known["cross_entropy"]
    if isinstance(loss, str):
        if loss not in known:
            raise UnknownName("loss", loss, known, where=" (or pass a callable (outputs, targets) -> losses)")
        return known[loss]
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).double()
        if hasattr(loss, "reduction"):
            loss.reduction = "none"  # type: ignore[assignment]
    if not callable(loss):
        raise SharpscopeError(f"loss must be 'cross_entropy', 'mse' or a callable, got {type(loss).__name__}")
    return CallableLoss(loss)


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
            f"got {targets.dtype} of shape {tuple(targets.shape)}; pass a callable as loss for other targets"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise SharpscopeError(
            f"class indices must lie between 0 and {outputs.shape[1] - 1}, since the model has {outputs.shape[1]} "
            f"outputs; got indices from {low} to {high}"
        )
    return targets.long()


def _regression_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.numel() != outputs.numel():
        raise SharpscopeError(
            f"mse expects targets of the outputs' shape {tuple(outputs.shape)}, got {tuple(targets.shape)}; "
            "class indices must be made one-hot first"
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)
