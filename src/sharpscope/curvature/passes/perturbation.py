"""Losses and gradients at perturbed parameters: every perturbation sees the same samples in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from sharpscope.curvature.passes.draws import Draw, Draws
from sharpscope.curvature.passes.evaluation import Additive, Evaluation, Need, Reduction
from sharpscope.curvature.passes.radial import gradient_of
from sharpscope.curvature.passes.reductions import one_each
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch, tensors_of
from sharpscope.curvature.risk.custom_losses import CallableLoss
from sharpscope.curvature.risk.losses import Loss, class_indices
from sharpscope.errors import NotDefined, SharpscopeError
from sharpscope.seeding import Stream

# Bytes of inputs that are held to be evaluated at the same perturbed parameters.
_HELD = 2**27
# Numbers of parameters, or of inputs, that a cache has room for; multiplications of a call that takes longer than what
# is around it; points that are evaluated side by side at most, and the fewest of them for which that pays.
_TOGETHER = 2**18
_LARGE = 2**22
_MOST = 31
_FEWEST = 4
_DRAWS = Draws()


class Perturbation(Protocol):
    """A point near theta."""

    def apply(self, parameters: Parameters) -> Parameters:
        """Return perturbed copies."""


class Noise:
    """theta + sign * scale * z with random z, always the same numbers.

    Args:
        scale: The size of the noise on each coordinate: one number, 0 for no perturbation at all; or a function of a
            parameter that returns those of its entries.
        stream: Where z is drawn from.
        sign: +1, or -1 for the antithetic draw.
        draw: ``torch.randn`` for z ~ N(0, 1), or ``uniform``.
    """

    def __init__(
        self,
        scale: float | Callable[[Tensor], Tensor],
        stream: Stream,
        sign: int = 1,
        draw: Draw = torch.randn,
    ) -> None:
        self._scale = scale
        self._stream = stream
        self._sign = sign
        self._draw = draw

    def apply(self, parameters: Parameters) -> Parameters:
        """Return theta + sign * scale * z; parameters only, buffers are no part of it."""
        drawn, scale, sign = _DRAWS.of(self._stream, self._draw, parameters), self._scale, self._sign
        if callable(scale):
            return {name: torch.addcmul(p, scale(p), drawn[name], value=sign) for name, p in parameters.items()}
        return {name: torch.add(p, drawn[name], alpha=sign * scale) for name, p in parameters.items()}


def uniform(*shape: Any, **options: Any) -> Tensor:
    """Return numbers uniform between -1 and 1, as ``torch.rand`` does between 0 and 1."""
    return 2 * torch.rand(*shape, **options) - 1


def antithetic(
    scale: float | Callable[[Tensor], Tensor],
    stream: Stream,
    start: int,
    count: int,
    draw: Draw = torch.randn,
) -> list[Noise]:
    """Return the pairs theta + eps_k, theta - eps_k of the draws ``start`` to ``start + count - 1``, 2 count points."""
    return [Noise(scale, stream.child(k), sign, draw) for k in range(start, start + count) for sign in (1, -1)]


def pair_means(changes: Sequence[float]) -> list[float]:
    """Return the mean over each antithetic pair, in which odd orders of the perturbation cancel."""
    return [(up + down) / 2 for up, down in zip(changes[::2], changes[1::2], strict=True)]


class Shift:
    """theta + eps for a given eps.

    Args:
        eps: By parameter, of any precision.
    """

    def __init__(self, eps: Parameters) -> None:
        self._eps = eps

    def apply(self, parameters: Parameters) -> Parameters:
        """Return theta + eps."""
        return {name: p + self._eps[name].to(p.dtype) for name, p in parameters.items()}


def with_normalized_logits(loss: Loss) -> Loss:
    r"""Return the loss of logits divided by their standard deviation over the outputs of each sample.

    .. math:: \tilde f_c = f_c / \sqrt{\tfrac{1}{C} \sum_k (f_k - \bar f)^2}

    The result does not depend on the scale of the logits, so that confidence alone cannot pass for flatness. Where all
    outputs of a sample are equal it is undefined, and not a number.

    Reference: Andriushchenko et al., "A Modern Look at the Relationship between Sharpness and Generalization",
    ICML 2023, Section 3.
    """

    def normalized(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] < 2:
            raise NotDefined("logits can be normalized only where there are at least two outputs, got one")
        return loss.values(outputs / outputs.std(dim=1, correction=0, keepdim=True), targets)

    return CallableLoss(normalized)


def zero_one(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest output is not the target's, else 0: shape ``[B]``."""
    if targets.is_floating_point() or targets.shape != outputs.shape[:1] or outputs.shape[1] < 2:
        raise NotDefined("accuracy needs class indices as targets, and at least two outputs")
    try:
        targets = class_indices(outputs, targets)
    except SharpscopeError as error:
        # Samples that a loss ignores may have any target.
        raise NotDefined(str(error)) from error
    return (outputs.argmax(dim=1) != targets).double()


def relative_rounding(risk: Risk) -> float:
    """Return the relative rounding of what the model computes."""
    return torch.finfo(next(iter(risk.parameters.values())).dtype).eps


class PerturbedLosses(Additive):
    """The change of the mean loss at each of several perturbations.

    Every perturbation sees the same samples, so that a loader that shuffles, or cuts its last batch short, cannot make
    a difference between them. Batches are held, up to 128 MB of inputs, and perturbed parameters serve all of them:
    noise for every parameter can take longer to draw than a small batch to evaluate. The last of them are evaluated
    when the changes are read, which is within the context of the risk.

    Args:
        perturbations: K of them.
        loss: Maps outputs and targets to what is averaged, shape ``[B]``, anything else is refused; the risk's own
            loss when None.
    """

    needs = Need.OUTPUTS

    def __init__(
        self, perturbations: Sequence[Perturbation], loss: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self._perturbations = perturbations
        self._loss = loss
        self._changes = [0.0] * len(perturbations)
        self._base = 0.0
        self._square_rounding = 0.0
        self._held: list[tuple[Batch, Tensor, Tensor]] = []
        self._bytes = 0
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Take in the losses of a batch, and hold it for those at the perturbations."""
        self._risk = evaluation.risk
        if evaluation.differentiated:
            self._risk.reach.compare(self._risk, evaluation.batch, evaluation.outputs)
        values = self._loss or self._risk.loss.values
        base = one_each(values(evaluation.outputs, evaluation.targets), evaluation.batch.size, "the loss")
        self._base += float(base.sum())
        self._square_rounding += float(self._rounding_of(evaluation, values, base).square().sum())
        self.samples += evaluation.batch.size
        self._held.append((evaluation.batch, evaluation.targets, base))
        self._bytes += sum(t.numel() * t.element_size() for t in tensors_of(evaluation.batch.inputs))
        if self._bytes >= _HELD:
            self._perturb()

    def _rounding_of(self, evaluation: Evaluation, values: Callable[[Tensor, Tensor], Tensor], base: Tensor) -> Tensor:
        """Return how far the loss of each sample may be off, for what the model rounds and what the loss does."""
        outputs = evaluation.outputs
        epsilon = relative_rounding(self._risk)
        signs = 1 - 2 * (torch.arange(outputs.shape[1], device=outputs.device) % 2)
        moved = outputs + epsilon * outputs.abs().amax(dim=1, keepdim=True) * signs
        off = values(moved, evaluation.targets) - base
        return torch.hypot(off, torch.finfo(base.dtype).eps * base)

    def _perturb(self) -> None:
        """Add the changes of the losses of what is held, at every perturbation."""
        if not self._held:
            return
        risk = self._risk
        together = min(self._together(batch) for batch, _, _ in self._held)
        for start in range(0, len(self._perturbations), together):
            some = self._perturbations[start : start + together]
            points = [perturbation.apply(risk.parameters) for perturbation in some]
            for batch, targets, base in self._held:
                outputs = risk.outputs_at(batch, points if together == 1 else [risk.parameters, *points])
                losses = self._losses_at(risk.exact(outputs), targets)
                # Differences of each sample, so that the sum of large losses does not swallow small changes.
                changes = losses - base if together == 1 else losses[1:] - losses[0]
                for k, change in enumerate(changes.sum(dim=1).tolist(), start):
                    self._changes[k] += change
        self._held, self._bytes = [], 0

    def _losses_at(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses ``[K, B]`` of outputs ``[K, B, C]`` at several points."""
        if self._loss is not None or not self._risk.additive:
            values = self._loss or self._risk.loss.values
            return torch.stack([values(at_point, targets) for at_point in outputs])
        # The losses of samples do not depend on each other: those of all points are as one batch.
        every = targets.repeat(len(outputs), *[1] * (targets.ndim - 1))
        return self._risk.loss.values(outputs.flatten(0, 1), every).view(outputs.shape[:2])

    def _together(self, batch: Batch) -> int:
        """Return at how many perturbations a batch is best evaluated side by side, theta itself being one more."""
        parameters = self._risk.parameter_count
        if batch.size * parameters > _LARGE:
            return 1
        size = max(parameters, sum(tensor.numel() for tensor in tensors_of(batch.inputs)))
        found = min(_MOST, _TOGETHER // size, len(self._perturbations))
        return found if found >= _FEWEST else 1

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the losses over the samples of ``whole`` that are not in ``part``, at the same perturbations."""
        assert not whole._held
        assert not part._held
        self._changes = [a - b for a, b in zip(whole._changes, part._changes, strict=True)]
        self._base = whole._base - part._base
        self._square_rounding = max(0.0, whole._square_rounding - part._square_rounding)
        self.samples = whole.samples - part.samples

    @property
    def base(self) -> float:
        """L(theta)."""
        return self._base / self.samples

    @property
    def rounding(self) -> float:
        """How far L(theta) may be off for rounding, as if that of the samples were independent."""
        return math.sqrt(self._square_rounding) / self.samples

    @property
    def differences(self) -> list[float]:
        """L(theta + eps_k) - L(theta), K of them."""
        self._perturb()
        return [change / self.samples for change in self._changes]


class GradientAt(Reduction):
    """The gradient of the mean loss at a perturbation, and the change of the loss to there.

    Args:
        perturbation: Where.
        loss: What is differentiated; the risk's own loss when None.
    """

    needs = Need.OUTPUTS | Need.DERIVATIVES

    def __init__(self, perturbation: Perturbation, loss: Loss | None = None) -> None:
        self._perturbation = perturbation
        self._loss = loss
        self._change = 0.0
        self._sums: Parameters = {}
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        risk, batch, targets = evaluation.risk, evaluation.batch, evaluation.targets
        if self._loss is not None:
            risk = risk.with_loss(self._loss)
        moved = self._perturbation.apply(risk.parameters)
        point = {name: p.detach().requires_grad_() for name, p in moved.items()}
        with torch.enable_grad():
            outputs = risk.outputs(batch, point)
            gradient = gradient_of(risk, batch, outputs, point)
        base = risk.loss.values(evaluation.outputs, targets)
        self._change += float((risk.losses(outputs, targets) - base).sum())
        self.samples += batch.size
        for name, part in gradient.items():
            wide = part.to(risk.precise)
            self._sums[name] = self._sums[name] + wide if name in self._sums else wide

    @property
    def value(self) -> Parameters:
        """The gradient of the mean loss there, by parameter."""
        return {name: total / self.samples for name, total in self._sums.items()}

    @property
    def difference(self) -> float:
        """L(theta + eps) - L(theta)."""
        return self._change / self.samples
