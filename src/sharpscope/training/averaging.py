"""Averages of the weights along a training, which then are its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.training.history import History
from sharpscope.training.normalization import reestimate, tracking
from sharpscope.training.observers import Observer, Progress
from sharpscope.training.schedules import share_of
from sharpscope.training.steps import MiniBatch, Pass, TensorCopies, restored


class LastIterate(Observer):
    """What a training results in: the last weights, as they are.

    Args:
        model: The model that is trained.
        clean_batches: The clean training data as the model sees it, in batches of about equal size.
    """

    def __init__(self, model: nn.Module, clean_batches: Callable[[], Iterable[Tensor]]) -> None:
        self.model = model
        self.clean_batches = clean_batches

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Let the model be the result for a block, as if the training ended here."""
        yield


class Averaged(LastIterate):
    """A running average of the weights; the statistics of BatchNorm are estimated anew for it.

    Args:
        model: The model that is trained, in the mode that it is trained in: a BatchNorm that is in eval mode then, as
            in a part that is kept frozen, has fixed statistics and keeps them.
        clean_batches: What the statistics are estimated on.
    """

    def __init__(self, model: nn.Module, clean_batches: Callable[[], Iterable[Tensor]]) -> None:
        super().__init__(model, clean_batches)
        self.taken = 0
        # Now, while the model is in the mode that it is trained in.
        self._layers = tracking(model)
        self._weights: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def take(self, share: float) -> None:
        """Let the present weights have a share in the average."""
        self.taken += 1
        torch._foreach_lerp_(self._average, self._weights, share)

    def settle(self, history: History) -> None:
        """Put the average into the model."""
        self._put_in_place()

    @torch.no_grad()
    def _put_in_place(self) -> None:
        if self.taken:
            torch._foreach_copy_(self._weights, self._average)
            reestimate(self.model, self._layers, self.clean_batches())

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Let the model be the average for a block."""
        statistics = [buffer for layer in self._layers for buffer in layer.buffers()]
        with restored(TensorCopies(self._weights)), restored(TensorCopies(statistics)):
            self._put_in_place()
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how often weights were taken."""
        return {"taken": self.taken, "average": self._average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.taken = state["taken"]
        torch._foreach_copy_(self._average, state["average"])


class MovingAverage(Averaged):
    """An exponential moving average over steps, without a bias towards the initialization.

    Args:
        model: The model that is trained.
        clean_batches: What BatchNorm is estimated on.
        decay: The weight of a step falls by this factor with every later one.
    """

    def __init__(self, model: nn.Module, clean_batches: Callable[[], Iterable[Tensor]], *, decay: float) -> None:
        super().__init__(model, clean_batches)
        self.decay = decay

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Take the weights with the share that the latest step has among all so far."""
        self.take((1 - self.decay) / (1 - self.decay ** (self.taken + 1)))


class MeanOfEpochs(Averaged):
    """The plain mean of the weights after each of the last epochs.

    Args:
        model: The model that is trained.
        clean_batches: What BatchNorm is estimated on.
        start: The share of the epochs after which averaging begins.
    """

    def __init__(self, model: nn.Module, clean_batches: Callable[[], Iterable[Tensor]], *, start: float) -> None:
        super().__init__(model, clean_batches)
        self.start = start

    def after_epoch(self, progress: Progress) -> None:
        """Take the weights, if it is late enough."""
        if progress.epoch > share_of(progress.epochs, self.start):
            self.take(1 / (self.taken + 1))
