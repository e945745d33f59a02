"""Records the history of a training, and notices divergence without waiting for the device at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.objective import Objective
from sharpscope.training.history import Diverged, Epoch, History
from sharpscope.training.observers import Observer, Progress
from sharpscope.training.steps import MiniBatch, Pass

# Steps between looks at the losses: each look waits for the device.
READ_EVERY = 100


class HistoryRecorder(Observer):
    """Records the loss of the batches of each epoch, and their accuracy where there is one.

    Args:
        objective: Tells which predictions are right.

    Attributes:
        history: The epochs closed so far.
    """

    def __init__(self, objective: Objective) -> None:
        self.history = History()
        self._objective = objective
        self._unread: list[tuple[Tensor, Tensor | None, int]] = []
        self._begin_epoch()

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Take note of one step.

        Raises:
            Diverged: If a loss of the last ``READ_EVERY`` steps is not finite.
        """
        right = self._objective.right(found.outputs, batch.targets)
        self._unread.append((found.loss, right, len(batch.targets)))
        if len(self._unread) == READ_EVERY:
            self._read(progress)

    def after_epoch(self, progress: Progress) -> None:
        """Add the record of the epoch.

        Raises:
            Diverged: If a loss is not finite.
        """
        self._read(progress)
        epoch = Epoch(
            epoch=progress.epoch,
            batch_loss=self._loss / self._samples,
            batch_accuracy=None if self._right is None else self._right / self._samples,
            lr=progress.lr,
            seconds=time.perf_counter() - self._started,
        )
        self.history.epochs.append(epoch)
        self._begin_epoch()

    def check_weights(self, model: nn.Module, progress: Progress) -> None:
        """Look at what the last step left: no loss has shown it.

        Raises:
            Diverged: If a parameter or a buffer is not finite.
        """
        for name, tensor in model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise self._diverged(f"'{name}' is not finite", len(self.history.epochs), progress.step, progress)

    def overflowed(self, epoch: int, progress: Progress) -> Diverged:
        """Return how a training came upon gradients that half precision does not hold at any scale of the loss."""
        what = "no gradient was finite in half precision, at any scale of the loss,"
        advice = "train in float32 or bf16, or longer where there are only a few steps"
        return Diverged(what, epoch, progress.step, progress.steps, self.history, advice)

    def state_dict(self) -> dict[str, Any]:
        """Return the record as it is between two epochs."""
        return {"epochs": [asdict(epoch) for epoch in self.history.epochs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.history.epochs = [Epoch(**epoch) for epoch in state["epochs"]]

    def _begin_epoch(self) -> None:
        self._started = time.perf_counter()
        self._loss, self._samples = 0.0, 0
        self._right: int | None = None

    def _read(self, progress: Progress) -> None:
        if not self._unread:
            return
        losses, rights, counts = zip(*self._unread, strict=True)
        self._unread.clear()
        samples = torch.tensor(counts, dtype=torch.float64)
        sums = torch.stack(losses).cpu().double() * samples
        first = progress.step - len(losses) + 1
        for step, loss in enumerate(sums.tolist(), start=first):
            if not math.isfinite(loss):
                raise self._diverged(
                    f"the loss became {what_is_wrong(loss)}", len(self.history.epochs) + 1, step, progress
                )
        self._loss += math.fsum(sums.tolist())
        self._samples += int(samples.sum())
        counted = [right for right in rights if right is not None]
        if counted:
            self._right = (self._right or 0) + int(torch.stack(counted).sum())

    def _diverged(self, what: str, epoch: int, step: int, progress: Progress) -> Diverged:
        return Diverged(what, epoch, step, progress.steps, self.history)


def what_is_wrong(loss: float) -> str:
    """Return what a loss is that is not finite."""
    return "NaN" if math.isnan(loss) else "infinite"
