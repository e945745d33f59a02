"""The gradient of a batch: over micro-batches, in any precision, with all workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from sharpscope.training.batches import Batch
from sharpscope.training.distributed import Workers
from sharpscope.training.normalization import RunningStatistics
from sharpscope.training.precision import LossScale, Overflow, autocast, widened
from sharpscope.training.recipe import Penalty, Recipe
from sharpscope.training.steps import Pass, Step, gradients


class Gradient:
    """Evaluates gradients for update steps, which need not know how.

    Args:
        model: In train mode.
        recipe: Has loss, precision and the number of micro-batches.
        penalties: Added to the loss.
        workers: Who share each batch.
        device: Where the model is.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, penalties: Sequence[Penalty], workers: Workers, device: torch.device
    ) -> None:
        self.scale = LossScale(enabled=recipe.precision == "fp16")
        self._model = model
        self._recipe = recipe
        self._penalties = penalties
        self._workers = workers
        self._device = device
        self._statistics = RunningStatistics(model)

    def step(self, update: Step, batch: Batch) -> Pass:
        """Take one update step on a batch, or none where its gradient overflows."""
        parts = batch.split(self._recipe.accumulate)
        backward = partial(self._evaluate, parts, batch)
        if not self.scale.enabled:
            return update(backward)
        try:
            found = update(backward)
        except Overflow as overflow:
            self.scale.after_overflow()
            return overflow.found
        self.scale.after_step()
        return found

    def _evaluate(self, parts: Sequence[Batch], batch: Batch, *, synchronize: bool = True) -> Pass:
        """Leave the gradient in ``.grad``: of all workers' samples, or of this worker's alone."""
        self._model.zero_grad()
        own = len(batch.targets)
        samples = batch.samples if synchronize else own
        shares = [len(part.targets) / own for part in parts]
        passes = []
        with self._statistics.one_update(shares) as begin:
            for number, part in enumerate(parts):
                begin(number)
                passes.append(self._backward(part, len(part.targets) / samples))
        if len(passes) == 1:
            found = passes[0]
        else:
            loss = torch.stack([one.loss * share for one, share in zip(passes, shares, strict=True)]).sum()
            found = Pass(loss, torch.cat([one.outputs for one in passes]))
        self._finish(found, synchronize)
        return found

    def _backward(self, part: Batch, share: float) -> Pass:
        """Go forward and backward over a part that has this share in the mean over all samples."""
        with autocast(self._recipe.precision, self._device):
            returned = self._model(part.inputs)
        outputs = widened(returned)
        loss = objective = self._recipe.loss(outputs, part.targets)
        for penalty in self._penalties:
            objective = objective + penalty(returned)
        factor = share * self.scale.factor
        # Not multiplied by one: a training alone and in one piece is to the bit what plain PyTorch makes it.
        (objective if factor == 1 else objective * factor).backward()
        return Pass(loss.detach(), outputs.detach())

    def _finish(self, found: Pass, synchronize: bool) -> None:
        if not self.scale.enabled and self._workers.count == 1:
            return
        _, gradient = gradients(self._model.parameters())
        if synchronize:
            self._workers.add_up(gradient)
        if not self.scale.enabled:
            return
        # All workers must skip a step together; those that added up see the same gradient already.
        broken = (~self.scale.unscale(gradient)).float()
        if not synchronize:
            self._workers.add_up([broken])
        if broken.item():
            raise Overflow(found)
