"""Keeps the record of a training, and notices divergence without waiting for the device at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.training.history import Diverged, Epoch, History
from sharpscope.training.steps import Pass

# Steps between looks at the losses: each look waits for the device.
PATIENCE = 100


class Watch:
    """Sees every step of a training.

    Args:
        steps: Steps of the whole training.

    Attributes:
        step: Steps seen so far.
        history: The epochs closed so far.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.step = 0
        self.history = History()
        self._unread: list[tuple[Tensor, Tensor, int]] = []
        self._begin_epoch()

    def see(self, found: Pass, targets: Tensor) -> None:
        """Take note of one step.

        Args:
            found: What the step reports.
            targets: Class indices ``[N]``, or probabilities ``[N, C]``, of which the largest counts as right.

        Raises:
            Diverged: If a loss of the last ``PATIENCE`` steps is not finite.
        """
        self.step += 1
        if targets.ndim == 2:
            targets = targets.argmax(dim=1)
        right = (found.outputs.argmax(dim=1) == targets).sum()
        self._unread.append((found.loss, right, len(targets)))
        if len(self._unread) == PATIENCE:
            self._read()

    def close_epoch(self, lr: float) -> Epoch:
        """End an epoch whose last step had the learning rate ``lr``, and return its record.

        Raises:
            Diverged: If a loss is not finite.
        """
        self._read()
        epoch = Epoch(
            epoch=self.epoch,
            batch_loss=self._loss / self._samples,
            batch_accuracy=self._right / self._samples,
            lr=lr,
            seconds=time.perf_counter() - self._started,
        )
        self.history.epochs.append(epoch)
        self._begin_epoch()
        return epoch

    def check_weights(self, model: nn.Module) -> None:
        """Look at what the last step left: no loss has shown it.

        Raises:
            Diverged: If a parameter or a buffer is not finite.
        """
        for name, tensor in model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise Diverged(f"'{name}' is not finite", len(self.history.epochs), self.step, self.steps, self.history)

    @property
    def epoch(self) -> int:
        """The epoch that goes on, from 1 on."""
        return len(self.history.epochs) + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the record as it is between two epochs."""
        return {"step": self.step, "epochs": [asdict(epoch) for epoch in self.history.epochs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.step = state["step"]
        self.history.epochs = [Epoch(**epoch) for epoch in state["epochs"]]

    def _begin_epoch(self) -> None:
        self._started = time.perf_counter()
        self._loss, self._right, self._samples = 0.0, 0, 0

    def _read(self) -> None:
        if not self._unread:
            return
        losses, rights, counts = zip(*self._unread, strict=True)
        self._unread.clear()
        samples = torch.tensor(counts, dtype=torch.float64)
        sums = torch.stack(losses).cpu().double() * samples
        right = torch.stack(rights).cpu()
        first = self.step - len(losses) + 1
        for step, loss in enumerate(sums.tolist(), start=first):
            if not math.isfinite(loss):
                what = "NaN" if math.isnan(loss) else "infinite"
                raise Diverged(f"the loss became {what}", self.epoch, step, self.steps, self.history)
        self._loss += math.fsum(sums.tolist())
        self._right += int(right.sum())
        self._samples += int(samples.sum())
