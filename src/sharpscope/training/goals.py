"""When a training ends before its last epoch, and which weights it keeps on the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sharpscope.curvature.risk.state import ForwardState
from sharpscope.data import Dataset
from sharpscope.training.averaging import LastIterate
from sharpscope.training.history import History, Kept
from sharpscope.training.observers import Observer, Progress
from sharpscope.training.predict import predict
from sharpscope.training.recipe import Recipe
from sharpscope.training.steps import MiniBatch, Pass, TensorCopies
from sharpscope.training.watched import copied

# Samples after which it is asked whether a loss can still be small enough.
_CHUNK = 256


class Goals(Observer):
    """Looks at the loss at the end of each epoch, in eval mode and on clean data, where a recipe asks for that.

    It looks at what the training would result in if it ended here: at averaged weights where weights are averaged.
    Where the recipe wants a loss to be matched more closely, the weights of an epoch's steps are held until its end. If
    the loss is small enough then, the step at which it became so is found among them by bisection: a few looks for
    each loss that is reached, instead of one every step.

    Args:
        recipe: Says at which losses to keep weights, at which to stop, and whether to stop early.
        result: What the training results in; it is told of steps and epochs before this is.
        data: The data trained on.
        held_out: Inputs and targets taken out of the training data; none without early stopping.
        device: Where the model is.

    Attributes:
        reached: Why the training ends here, as ``History.ended`` has it; empty while it goes on.
    """

    def __init__(
        self,
        recipe: Recipe,
        result: LastIterate,
        data: Dataset,
        held_out: tuple[Tensor, Tensor] | None,
        device: torch.device,
    ) -> None:
        self.reached = ""
        self._result = result
        self._data = data
        self._held_out = held_out
        self._device = device
        self._asked = sorted({*recipe.checkpoints_at_loss}, reverse=True)
        self._stop = recipe.stop_at_loss
        self._every = recipe.check_loss_every
        self._patience = recipe.early_stopping.patience if recipe.early_stopping else 0
        self._step = 0
        self._kept: list[Kept] = []
        self._best: Kept | None = None
        self._moments: list[_Moment] = []

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Hold the weights until the epoch ends, if they may be asked for then."""
        self.hold(progress.step)

    def come_to(self, step: int) -> None:
        """Take note that so many steps were taken."""
        self._step = step

    def hold(self, step: int) -> None:
        """Hold the weights of the model as those after a step, if they may be asked for."""
        if self._every is None or step % self._every or not self._awaited:
            return
        self._moments.append(_Moment.of(self._result, step))

    def after_epoch(self, progress: Progress) -> None:
        """Look at the loss, and keep the weights of where it was small enough."""
        epoch, step = progress.epoch, progress.step
        self.come_to(step)
        limit = self.next_loss
        if limit is None and self._held_out is None:
            return
        loss = math.inf
        with self._result.standing_in():
            if limit is not None:
                loss = self._train_loss(limit)
            if self._held_out is not None:
                self._look_at_held_out(epoch, step, *self._held_out)
        if limit is not None and loss <= limit:
            # What the end of an epoch adds to an average belongs to its last step.
            held = [moment for moment in self._moments if moment.step < step]
            self._reach(epoch, [*held, _Moment.of(self._result, step)], loss)
        self._moments.clear()

    def settle(self, history: History) -> None:
        """Put the weights of the best epoch into the model by early stopping, and what was found into the record."""
        # A loss to stop at asks for the weights that have it, whatever held-out data say.
        if self._best is not None and self.reached != "loss":
            self._result.model.load_state_dict(self._best.weights)
            history.best_epoch = self._best.epoch
            self._step = self._best.step
        history.ended = self.reached or "epochs"
        history.step = self._step
        history.at_loss = {kept.asked: kept for kept in self._kept}

    def state_dict(self) -> dict[str, Any]:
        """Return what was kept so far."""
        best = [] if self._best is None else [self._best.to_dict()]
        kept = [kept.to_dict() for kept in self._kept]
        return {"reached": self.reached, "step": self._step, "kept": kept, "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.reached, self._step = state["reached"], state["step"]
        self._kept = [Kept(**kept) for kept in state["kept"]]
        self._best = next((Kept(**best) for best in state["best"]), None)

    @property
    def next_loss(self) -> float | None:
        """The largest loss that was not reached so far; None if none is asked for any more."""
        return max(self._awaited, default=None)

    @property
    def _awaited(self) -> list[float]:
        """The losses that were not reached so far."""
        return self._asked[len(self._kept) :] + ([] if self._stop is None else [self._stop])

    def _reach(self, epoch: int, moments: list[_Moment], loss: float) -> None:
        """Find where an epoch reached what its end has reached.

        Args:
            epoch: The epoch.
            moments: Of the epoch, in order.
            loss: At the last of them.
        """
        if self._stop is not None and loss <= self._stop:
            moments, loss = self._until(moments, loss, self._stop)
            self.reached, self._step = "loss", moments[-1].step
            moments[-1].restore(self._result)
        reached = [asked for asked in self._asked[len(self._kept) :] if loss <= asked]
        found: list[Kept] = []
        # From the smallest on, since a larger one was reached at the same step or before.
        for asked in reversed(reached):
            moments, loss = self._until(moments, loss, asked)
            step = moments[-1].step
            weights = found[-1].weights if found and found[-1].step == step else self._weights(moments[-1])
            found.append(Kept(asked, epoch, step, loss, weights))
        self._kept += reversed(found)

    def _until(self, moments: list[_Moment], loss: float, asked: float) -> tuple[list[_Moment], float]:
        """Return the moments up to one with a loss of at most ``asked``, before which it was larger.

        Args:
            moments: In order.
            loss: At the last of them: ``asked`` or less.
            asked: The loss to find.

        Returns:
            The moments, and the loss at the last of them.
        """
        above, below = -1, len(moments) - 1
        while below - above > 1:
            middle = (above + below) // 2
            with self._at(moments[middle]):
                there = self._train_loss(asked)
            if there <= asked:
                below, loss = middle, there
            else:
                above = middle
        return moments[: below + 1], loss

    def _look_at_held_out(self, epoch: int, step: int, inputs: Tensor, targets: Tensor) -> None:
        loss = self._loss(inputs, targets)
        if self._best is None or loss < self._best.loss:
            self._best = Kept(loss, epoch, step, loss, copied(self._result.model))
        elif epoch - self._best.epoch >= self._patience:
            self.reached = "patience"

    def _train_loss(self, limit: float) -> float:
        return self._loss(self._data.train_inputs, self._data.train_targets, limit)

    def _loss(self, inputs: Tensor, targets: Tensor, limit: float = math.inf) -> float:
        """Return the mean loss; where it is larger than ``limit``, only something that is larger too.

        No sample has a negative loss, so that often a few show that the mean of all must be too large.
        """
        total, outputs = 0.0, []
        for some, their_targets in zip(inputs.split(_CHUNK), targets.cpu().split(_CHUNK), strict=True):
            outputs.append(predict(self._result.model, some, self._data.normalize, device=self._device).double())
            total += float(self._data.objective.total(outputs[-1], their_targets))
            if total > limit * len(targets):
                return total / len(targets)
        return float(self._data.objective.loss(torch.cat(outputs), targets.cpu()))

    def _weights(self, moment: _Moment) -> dict[str, Tensor]:
        with self._at(moment):
            return copied(self._result.model)

    @contextmanager
    def _at(self, moment: _Moment) -> Iterator[None]:
        """Let the model be for a block what the training would have resulted in at a moment."""
        present = _Moment.of(self._result, moment.step)
        moment.restore(self._result)
        try:
            with self._result.standing_in():
                yield
        finally:
            present.restore(self._result)


@dataclass(frozen=True)
class _Moment:
    """The weights and the model's state after a step, and what the result depends on beside them."""

    step: int
    weights: TensorCopies
    state: ForwardState
    beside: dict[str, Any]

    @classmethod
    def of(cls, result: LastIterate, step: int) -> _Moment:
        """Return the present one."""
        model = result.model
        state = ForwardState(model.modules())
        return cls(step, TensorCopies(model.parameters()), state, copy.deepcopy(result.state_dict()))

    def restore(self, result: LastIterate) -> None:
        """Bring model and result back there."""
        self.weights.restore()
        self.state.restore()
        result.load_state_dict(self.beside)
