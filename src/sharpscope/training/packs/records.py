"""The histories of a pack: the loss and accuracy of each epoch of each network, and where one diverged."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sharpscope.objective import Objective
from sharpscope.training.history import Diverged, Epoch, History
from sharpscope.training.observers import Progress
from sharpscope.training.packs.losses import Loss
from sharpscope.training.recorder import what_is_wrong


class Records:
    """Records the losses of batches, for all networks at once.

    Args:
        rows: How many networks there are.
        epochs: Of the whole training.
        objective: Tells which predictions are right.
        loss: That is recorded.
    """

    def __init__(self, rows: int, epochs: int, objective: Objective, loss: Loss) -> None:
        self._objective = objective
        self._loss = loss
        self._closed = 0
        # Mean loss and share of right predictions; the factor on the learning rate and the seconds.
        self._values = torch.zeros(epochs, 2, rows, dtype=torch.float64)
        self._shared = torch.zeros(epochs, 2, dtype=torch.float64)
        self._begin()

    def take(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Take note of several steps with batches of one size.

        Args:
            outputs: Of each step, shape ``[R, N, C]``, before it.
            targets: Shape ``[steps, R, N]`` or ``[steps, R, N, C]``.

        Returns:
            The loss of each batch, float64 ``[steps, R]`` on the CPU.
        """
        # The outputs of a single step, which may be of all samples, need no copy.
        stacked = outputs[0][None] if len(outputs) == 1 else torch.stack(list(outputs))
        samples = stacked.shape[2]
        losses = self._loss.value(stacked, targets).cpu().double()
        right = _right(self._objective, stacked, targets)
        self._sums[0] += (losses * samples).sum(dim=0)
        if right is None:
            self._sums[1] = math.nan
        else:
            self._sums[1] += right.sum(dim=0).cpu()
        self._samples += samples * len(stacked)
        return losses

    def close(self, factor: float) -> None:
        """Close an epoch.

        Args:
            factor: On the learning rates at its last step.
        """
        self._shared[self._closed] = torch.tensor([factor, time.perf_counter() - self._started])
        self._values[self._closed] = self._sums / self._samples
        self._closed += 1
        self._begin()

    def epochs(self, row: int, lr: float) -> list[Epoch]:
        """Return the records of a network so far.

        Args:
            row: Which.
            lr: Its learning rate at the beginning.
        """
        values, shared = self._values[: self._closed, :, row].tolist(), self._shared[: self._closed].tolist()
        networks = self._values.shape[2]
        return [
            Epoch(number, loss, None if math.isnan(right) else right, lr * factor, seconds / networks)
            for number, ((loss, right), (factor, seconds)) in enumerate(zip(values, shared, strict=True), start=1)
        ]

    def rows(self, chosen: Sequence[int]) -> None:
        """Go on with some of the networks; between two epochs."""
        self._values = self._values[:, :, list(chosen)]
        self._begin()

    def state(self, row: int) -> dict[str, Any]:
        """Return the records of a network between two epochs."""
        return {"values": self._values[: self._closed, :, row], "shared": self._shared[: self._closed]}

    def go_on(self, row: int, state: Mapping[str, Any]) -> None:
        """Go on from there; all networks are at the same epoch."""
        self._closed = len(state["shared"])
        self._values[: self._closed, :, row] = state["values"]
        self._shared[: self._closed] = state["shared"]

    def _begin(self) -> None:
        self._started = time.perf_counter()
        self._sums = torch.zeros_like(self._values[0])
        self._samples = 0


def divergence(losses: Tensor, row: int, progress: Progress, history: History) -> Diverged:
    """Return how a network came upon losses ``[steps, R]`` that are not all finite, with ``progress`` before them."""
    column = losses[:, row]
    step = int((~column.isfinite()).nonzero()[0])
    what = f"the loss became {what_is_wrong(float(column[step]))}"
    return Diverged(what, progress.epoch + 1, progress.step + step + 1, progress.steps, history)


def _right(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor | None:
    count = torch.func.vmap(torch.func.vmap(objective.right))
    return None if objective.right(outputs[0, 0], targets[0, 0]) is None else count(outputs, targets)
