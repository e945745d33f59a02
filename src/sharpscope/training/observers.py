"""What sees a training as it goes: after each step, after each epoch, and at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from sharpscope.curvature.risk.random_state import random_state_kept
from sharpscope.curvature.risk.state import ForwardState, restored_state
from sharpscope.training.history import History
from sharpscope.training.modes import mode
from sharpscope.training.steps import MiniBatch, Pass, TensorCopies, restored


@dataclass
class Progress:
    """How far a training is. The loop moves it on, observers read it.

    Attributes:
        steps: Of the whole training.
        epochs: Of the whole training.
        step: Steps taken so far.
        epoch: Epochs completed so far.
        lr: The learning rate of the last step.
    """

    steps: int
    epochs: int
    step: int = 0
    epoch: int = 0
    lr: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.step, self.epoch, self.lr = state["step"], state["epoch"], state["lr"]


class Observer:
    """Sees a training as it goes; each method does nothing until a subclass has something to do there.

    What later calls depend on belongs into the state, so that a training that was broken off can go on.
    """

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """See the model after a step.

        Args:
            progress: Where the training is; this step is counted.
            batch: What the step was taken on.
            found: What the step reports: loss and outputs before it.
        """

    def after_epoch(self, progress: Progress) -> None:
        """See the model after an epoch, which is counted in ``progress``."""

    def settle(self, history: History) -> None:
        """Have a say in what the training results in: the weights of the model, and the record."""

    def state_dict(self) -> dict[str, Any]:
        """Return what later calls depend on: mappings and lists, with tensors and JSON values as leaves."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""


class Observers(Observer):
    """Several observers, told one after the other.

    Args:
        members: In the order in which they are told.
    """

    def __init__(self, members: Sequence[Observer]) -> None:
        self._members = list(members)

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Tell each."""
        for member in self._members:
            member.after_step(progress, batch, found)

    def after_epoch(self, progress: Progress) -> None:
        """Tell each."""
        for member in self._members:
            member.after_epoch(progress)

    def settle(self, history: History) -> None:
        """Ask each."""
        for member in self._members:
            member.settle(history)

    def state_dict(self) -> dict[str, Any]:
        """Return the states in order."""
        return {"members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give each its own."""
        for member, own in zip(self._members, state["members"], strict=True):
            member.load_state_dict(own)


class Guarded(Observer):
    """Lets another observer look at a model in eval mode, without a trace of that in the training.

    After each call weights, buffers, modes and the global random states are bit for bit what they were.

    Args:
        observer: Who looks; what it says of the result changes the record at most.
        model: The model that is trained.
        device: Where it is.
    """

    def __init__(self, observer: Observer, model: nn.Module, device: torch.device) -> None:
        self._observer = observer
        self._model = model
        self._device = device
        self._weights = TensorCopies(model.parameters())
        self._state = ForwardState(model.modules())

    def after_step(self, progress: Progress, batch: MiniBatch, found: Pass) -> None:
        """Let it see a step."""
        with self._untouched():
            self._observer.after_step(progress, batch, found)

    def after_epoch(self, progress: Progress) -> None:
        """Let it see an epoch."""
        with self._untouched():
            self._observer.after_epoch(progress)

    def settle(self, history: History) -> None:
        """Let it see the end."""
        with self._untouched():
            self._observer.settle(history)

    def state_dict(self) -> dict[str, Any]:
        """Return its state."""
        return self._observer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give it its state."""
        self._observer.load_state_dict(state)

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        with (
            random_state_kept(self._device),
            restored(self._weights),
            restored_state(self._state),
            mode(self._model, train=False),
        ):
            yield
