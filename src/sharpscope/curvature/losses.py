"""Losses of one sample, with what the closed forms need of them: gradient and Hessian in the outputs.

Everything here works on float64 outputs, whatever the model's precision. Near a minimum ``p_y`` is close to one and
``1 - p_y`` is what all curvature is made of; in float32 it would have no digits left.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
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


class ModifiedCrossEntropy:
    r"""Cross-entropy with class weights, label smoothing and ignored targets, as ``torch.nn.CrossEntropyLoss`` has it.

    With smoothing s it is :math:`-\sum_c t_c \log p_c`, :math:`t_c = w_c ((1 - s) [c = y] + s / C)`: its curvature is
    that of cross-entropy times :math:`\sum_c t_c`.

    Args:
        weight: w, shape ``[C]``; ones when None.
        smoothing: s.
        ignored: Samples with this target have no loss.
        scale: What all losses are multiplied by.
    """

    def __init__(self, weight: Tensor | None, smoothing: float, ignored: int, scale: float = 1.0) -> None:
        self._weight = weight
        self._smoothing = smoothing
        self._ignored = ignored
        self._scale = scale
        self._plain = CrossEntropy()

    def averaged(self, targets: Iterable[Tensor]) -> ModifiedCrossEntropy:
        """Return the loss whose plain mean over these targets is PyTorch's mean, which divides by the sum of weights.

        Args:
            targets: Batches of class indices ``[B]``.

        Raises:
            SharpscopeError: If no target has weight.
        """
        count, total = 0, 0.0
        for batch in targets:
            count += len(batch)
            kept = batch[batch != self._ignored].cpu()
            if self._weight is None:
                total += len(kept)
            else:
                # Targets that are no classes of these are refused where losses are evaluated.
                known = kept[(kept >= 0) & (kept < len(self._weight))].long()
                total += float(self._weight.detach().cpu().double()[known].sum())
        if not total > 0:
            raise SharpscopeError("the loss gives no sample any weight; check its class weights and ignore_index")
        return ModifiedCrossEntropy(self._weight, self._smoothing, self._ignored, count / total)

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

    def _total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._wanted(outputs, targets).sum(dim=1)

    def _wanted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return t of all samples, ``[B, C]``."""
        classes = outputs.shape[1]
        if self._weight is not None and len(self._weight) != classes:
            raise SharpscopeError(f"the loss has {len(self._weight)} class weights and the model {classes} outputs")
        ignored = targets == self._ignored
        indices = class_indices(outputs, targets.masked_fill(ignored, 0))
        wanted = F.one_hot(indices, classes).to(outputs) * (1 - self._smoothing) + self._smoothing / classes
        if self._weight is not None:
            wanted = wanted * self._weight.to(outputs)
        return self._scale * wanted.masked_fill(ignored[:, None], 0.0)


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
        try:
            losses = self._function(outputs, targets)
        except RuntimeError as error:
            raise SharpscopeError(
                f"the loss failed on outputs of {outputs.dtype} and shape {tuple(outputs.shape)}: {error}; bring what "
                "it holds to the outputs' dtype and device, as weight.to(outputs)"
            ) from error
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
        outputs, gradient = self._with_graph(outputs, targets)
        if not gradient.requires_grad:
            return outputs.new_zeros(*outputs.shape, outputs.shape[1])
        rows = [torch.autograd.grad(c, outputs, retain_graph=True)[0] for c in gradient.sum(dim=0)]
        return torch.stack(rows, dim=1)

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return the products by one backward pass through the gradient of the loss alone."""
        outputs, gradient = self._with_graph(outputs, targets)
        if not gradient.requires_grad:
            return torch.zeros_like(vectors)
        (product,) = torch.autograd.grad(gradient, outputs, vectors.to(gradient))
        return product

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return the inner product of the explicit Hessian with ``gram``."""
        return torch.einsum("bce,ce->b", self.hessian(outputs, targets), gram)

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return the quadratic forms of the explicit Hessian."""
        return torch.einsum("ck,bce,ek->bk", directions, self.hessian(outputs, targets), directions)

    def _with_graph(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs as a leaf, and the gradient in them with its graph."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            total = self.values(outputs, targets).sum()
            (gradient,) = torch.autograd.grad(total, outputs, create_graph=True)
        return outputs, gradient


def resolve_loss(loss: str | Callable[..., Any]) -> Loss:
    """Return the loss of that name, or the user's callable in the form that measures need.

    A loss module of ``torch.nn`` is taken sample by sample, reduced over the outputs of each, and in float64.

    Raises:
        UnknownName: If the name is none of ``cross_entropy`` and ``mse``.
        SharpscopeError: If it is neither a name nor callable, or a module that sums over samples.
    """
    known: dict[str, Loss] = {"cross_entropy": CrossEntropy(), "mse": MeanSquaredError()}
    if isinstance(loss, str):
        if loss not in known:
            raise UnknownName("loss", loss, known, where=" (or pass a callable (outputs, targets) -> losses)")
        return known[loss]
    if not callable(loss):
        raise SharpscopeError(f"loss must be 'cross_entropy', 'mse' or a callable, got {type(loss).__name__}")
    if getattr(loss, "reduction", "mean") == "sum":
        raise SharpscopeError(
            f"the loss {type(loss).__name__} sums over samples, and the risk is a mean over them; "
            "make it with reduction='mean'"
        )
    if type(loss) is nn.MSELoss:
        return known["mse"]
    if type(loss) is nn.CrossEntropyLoss:
        if loss.weight is None and not loss.label_smoothing and loss.ignore_index < 0:
            return known["cross_entropy"]
        return ModifiedCrossEntropy(loss.weight, loss.label_smoothing, loss.ignore_index)
    return CallableLoss(_sample_by_sample(loss) if isinstance(loss, nn.Module) else loss)


def _sample_by_sample(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss module as a function that reduces over the outputs of each sample only."""
    module = copy.deepcopy(module).double()
    if not hasattr(module, "reduction"):
        return module
    module.reduction = "none"  # type: ignore[assignment]

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = module(outputs, targets)
        return found.flatten(1).mean(dim=1) if found.shape == outputs.shape else found

    return losses


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
