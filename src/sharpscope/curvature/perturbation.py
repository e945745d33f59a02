"""Losses at perturbed parameters: every perturbation sees the same samples in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from sharpscope.curvature.passes import Evaluation, Need
from sharpscope.curvature.risk import Parameters
from sharpscope.seeding import Stream


class Perturbation(Protocol):
    """A point near theta."""

    def apply(self, parameters: Parameters) -> Parameters:
        """Return perturbed copies."""


class Gaussian:
    """theta + sign * eps with eps ~ N(0, scale^2 I), drawn anew each time it is applied, always the same numbers.

    Args:
        scale: The standard deviation of each coordinate; 0 for no perturbation at all.
        stream: Where eps is drawn from.
        sign: +1, or -1 for the antithetic draw.
    """

    def __init__(self, scale: float, stream: Stream, sign: int = 1) -> None:
        self._scale = scale * sign
        self._stream = stream

    def apply(self, parameters: Parameters) -> Parameters:
        """Return theta + sign * eps; parameters only, buffers are no part of it."""
        sample = next(iter(parameters.values()))
        generator = self._stream.torch(sample.device)
        return {
            name: p + self._scale * torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device)
            for name, p in parameters.items()
        }


class PerturbedLosses:
    """The mean loss at each of several perturbations.

    The loop over perturbations stands inside the loop over batches, so that a loader that shuffles, or cuts its last
    batch short, cannot make a difference between them.

    Args:
        perturbations: K of them.
    """

    needs = Need.OUTPUTS

    def __init__(self, perturbations: Sequence[Perturbation]) -> None:
        self._perturbations = perturbations
        self._sums = [0.0] * len(perturbations)
        self._base = 0.0
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Add the losses of a batch at every perturbation."""
        risk, batch = evaluation.risk, evaluation.batch
        self._base += float(evaluation.losses.sum())
        self.samples += batch.size
        with torch.no_grad():
            for k, perturbation in enumerate(self._perturbations):
                outputs = risk.outputs(batch, perturbation.apply(risk.parameters))
                self._sums[k] += float(risk.losses(outputs, evaluation.targets).sum())

    @property
    def base(self) -> float:
        """L(theta)."""
        return self._base / self.samples

    @property
    def differences(self) -> list[float]:
        """L(theta + eps_k) - L(theta), K of them."""
        return [(total - self._base) / self.samples for total in self._sums]
