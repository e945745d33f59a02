"""Weights along a training: what it would result in, if it ended after given steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.training.averaging import LastIterate
from sharpscope.training.history import History
from sharpscope.training.observers import Observer, Progress
from sharpscope.training.steps import MiniBatch, Pass


class WatchedWeights(Observer):
    """Keeps the weights after given steps; they are held in memory until the training ends.

    Args:
        result: What the training results in; it is told of steps before this is.
        steps: After which steps, counted over the whole training; 0 is before the first.
    """

    def __init__(self, result: LastIterate, steps: Collection[int]) -> None:
        self._result = result
        self._steps = frozenset(steps)
        self._kept: dict[int, Mapping[str, Tensor]] = {}
        self.keep(0)

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Keep the weights, if this is one of the steps."""
        self.keep(progress.step)

    def settle(self, history: History) -> None:
        """Put the weights into the record, as far as the training came in the end."""
        history.at_step = {step: weights for step, weights in self._kept.items() if step <= history.step}

    def state_dict(self) -> dict[str, Any]:
        """Return what was kept so far."""
        return {"steps": list(self._kept), "weights": list(self._kept.values())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._kept = dict(zip(state["steps"], state["weights"], strict=True))

    def keep(self, step: int) -> None:
        """Keep the weights of the model as those after a step, if it is one of the steps."""
        if step in self._steps:
            with self._result.standing_in():
                self._kept[step] = copied(self._result.model)


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model, contiguous and on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
