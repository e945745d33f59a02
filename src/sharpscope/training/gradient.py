"""The gradient of a batch: over micro-batches, in any precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sharpscope.training.compilation import ForwardPass
from sharpscope.training.normalization import RunningStatistics
from sharpscope.training.precision import LossScale, Overflow, autocast, widened
from sharpscope.training.recipe import LossFunction, Penalty, Recipe
from sharpscope.training.steps import MiniBatch, Pass, Step, gradients


class Gradient:
    """Evaluates gradients for update steps, which need not know how.

    Args:
        model: In train mode.
        recipe: Has precision and the number of micro-batches.
        loss: Outputs and targets of a batch to their mean loss.
        penalties: Added to the loss.
        device: Where the model is.
        forward: Computes what the model does, when it is not the model itself.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        loss: LossFunction,
        penalties: Sequence[Penalty],
        device: torch.device,
        forward: ForwardPass | None = None,
    ) -> None:
        self.scale = LossScale(enabled=recipe.precision == "fp16")
        self._model = model
        self._call = forward or model
        self._recipe = recipe
        self._loss = loss
        self._penalties = penalties
        self._device = device
        self._statistics = RunningStatistics(model)

    def step(self, update: Step, batch: MiniBatch) -> Pass:
        """Take one update step on a batch, or none where its gradient overflows."""
        backward = OnBatch(self, batch)
        if not self.scale.enabled:
            return update(backward)
        try:
            found = update(backward)
        except Overflow as overflow:
            self.scale.after_overflow()
            return overflow.found
        self.scale.after_step()
        return found

    def evaluate(self, batch: MiniBatch, *, weights: Sequence[Tensor] | None, chosen: Tensor | None) -> Pass:
        """Go forward and backward over a batch; see ``Backward``."""
        self._model.zero_grad()
        whole = len(batch.targets)
        if chosen is not None:
            batch = batch.take(chosen)
        parts = self._parts(batch, whole)
        shares = [len(part.targets) / len(batch.targets) for part in parts]
        passes = []
        with self._statistics.one_update(shares) as begin:
            for number, part in enumerate(parts):
                begin(number)
                passes.append(self._backward(part, shares[number], weights))
        if len(passes) == 1:
            found = passes[0]
        else:
            loss = torch.stack([one.loss * share for one, share in zip(passes, shares, strict=True)]).sum()
            found = Pass(loss, torch.cat([one.outputs for one in passes]))
        self._unscale(found)
        return found

    @torch.no_grad()
    def losses(self, batch: MiniBatch, found: Pass | None) -> Tensor:
        """Return the loss of each sample of a batch; see ``Backward``."""
        if found is None:
            parts = self._parts(batch, len(batch.targets))
            outputs = torch.cat([widened(self._forward(part)) for part in parts])
        else:
            outputs = found.outputs
        # A mean loss, of batches of one.
        return torch.func.vmap(self._loss)(outputs[:, None], batch.targets[:, None])

    def _parts(self, batch: MiniBatch, whole: int) -> list[MiniBatch]:
        """Return the micro-batches of a part of a batch, of the size that those of the ``whole`` have."""
        return batch.split(math.ceil(self._recipe.accumulate * len(batch.targets) / whole))

    def _forward(self, part: MiniBatch) -> Tensor:
        with autocast(self._recipe.precision, self._device):
            outputs: Tensor = self._call(part.inputs)
        return outputs

    def _backward(self, part: MiniBatch, share: float, weights: Sequence[Tensor] | None) -> Pass:
        """Go forward and backward over a part that has this share in the mean over all samples."""
        returned = self._forward(part)
        outputs = widened(returned)
        loss = objective = self._loss(outputs, part.targets)
        for penalty in self._penalties:
            objective = objective + penalty(returned)
        factor = share * self.scale.factor
        # Not multiplied by one: a batch in one piece is to the bit what plain PyTorch makes it.
        objective = objective if factor == 1 else objective * factor
        if weights is None or weights:
            objective.backward(inputs=weights)
        return Pass(loss.detach(), outputs.detach())

    def _unscale(self, found: Pass) -> None:
        """Divide the gradient by the scale of the loss.

        Raises:
            Overflow: If it is not finite.
        """
        if not self.scale.enabled:
            return
        _, gradient = gradients(self._model.parameters())
        sound = self.scale.unscale(gradient) if gradient else found.loss.isfinite()
        if not sound.item():
            raise Overflow(found)


class OnBatch:
    """What an update step is given: the evaluation of one batch, wherever the weights are; see ``Backward``.

    Args:
        gradient: How gradients are evaluated.
        batch: The samples.
    """

    def __init__(self, gradient: Gradient, batch: MiniBatch) -> None:
        self._gradient = gradient
        self._batch = batch

    def __call__(self, *, weights: Sequence[Tensor] | None = None, chosen: Tensor | None = None) -> Pass:
        """Leave the gradient in ``.grad``."""
        return self._gradient.evaluate(self._batch, weights=weights, chosen=chosen)

    def losses(self, found: Pass | None = None) -> Tensor:
        """Return the loss of each sample."""
        return self._gradient.losses(self._batch, found)
