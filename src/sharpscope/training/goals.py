"""When a training ends before its last epoch, and which weights it keeps on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sharpscope.data import Dataset
from sharpscope.training.averaging import Result
from sharpscope.training.history import History, Kept
from sharpscope.training.predict import predict
from sharpscope.training.recipe import Recipe


class Goals:
    """Looks at the loss once an epoch, in eval mode and on clean data, where a recipe asks for that.

    It looks at what the training would result in if it ended here: at averaged weights where weights are averaged.

    Args:
        recipe: Says at which losses to keep weights, at which to stop, and whether to stop early.
        result: Of the training.
        data: The data trained on.
        held_out: Inputs and targets taken out of the training data; none without early stopping.
        device: Where the model is.

    Attributes:
        reached: Why the training ends here, as ``History.ended`` has it; empty while it goes on.
    """

    def __init__(
        self,
        recipe: Recipe,
        result: Result,
        data: Dataset,
        held_out: tuple[Tensor, Tensor] | None,
        device: torch.device,
    ) -> None:
        self.reached = ""
        self._recipe = recipe
        self._result = result
        self._data = data
        self._held_out = held_out
        self._device = device
        self._levels = sorted({*recipe.checkpoints_at_loss}, reverse=True)
        self._patience = recipe.early_stopping.patience if recipe.early_stopping else 0
        self._kept: list[Kept] = []
        self._best: Kept | None = None

    def look(self, epoch: int, step: int) -> None:
        """Take note of where the training is after an epoch, and of the steps so far."""
        wants_loss = bool(self._levels) or self._recipe.stop_at_loss is not None
        if not wants_loss and self._held_out is None:
            return
        with self._result.standing_in():
            if wants_loss:
                self._look_at_loss(epoch, step)
            if self._held_out is not None:
                self._look_at_held_out(epoch, step, *self._held_out)

    def settle(self, history: History) -> None:
        """Put the result into the model, and what was found into the record."""
        self._result.settle()
        # A loss to stop at asks for the weights that have it, whatever held-out data say.
        if self._best is not None and self.reached != "loss":
            self._result.model.load_state_dict(self._best.weights)
            history.best_epoch = self._best.epoch
        history.ended = self.reached or "epochs"
        history.at_loss = {kept.level: kept for kept in self._kept}

    def state_dict(self) -> dict[str, Any]:
        """Return what was kept so far."""
        best = [] if self._best is None else [self._best.to_dict()]
        return {"reached": self.reached, "kept": [kept.to_dict() for kept in self._kept], "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.reached = state["reached"]
        self._kept = [Kept(**kept) for kept in state["kept"]]
        self._best = next((Kept(**best) for best in state["best"]), None)

    def _look_at_loss(self, epoch: int, step: int) -> None:
        loss = self._loss(self._data.train_inputs, self._data.train_targets)
        crossed = [level for level in self._levels[len(self._kept) :] if loss <= level]
        weights = self._weights() if crossed else {}
        self._kept += [Kept(level, epoch, step, loss, weights) for level in crossed]
        if self._recipe.stop_at_loss is not None and loss <= self._recipe.stop_at_loss:
            self.reached = "loss"

    def _look_at_held_out(self, epoch: int, step: int, inputs: Tensor, targets: Tensor) -> None:
        loss = self._loss(inputs, targets)
        if self._best is None or loss < self._best.loss:
            self._best = Kept(loss, epoch, step, loss, self._weights())
        elif epoch - self._best.epoch >= self._patience:
            self.reached = self.reached or "patience"

    def _loss(self, inputs: Tensor, targets: Tensor) -> float:
        outputs = predict(self._result.model, inputs, self._data.normalize, device=self._device)
        return float(cross_entropy(outputs.double(), targets.cpu()))

    def _weights(self) -> dict[str, Tensor]:
        state = self._result.model.state_dict()
        return {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }
