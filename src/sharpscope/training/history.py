"""What a training records of itself, and how it says that it diverged. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sharpscope.errors import SharpscopeError


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        epoch: From 1 on.
        batch_loss: Mean loss over the samples as the batches came, augmented where the regime augments, each
            before its step and in train mode: not the loss on the clean training set.
        batch_accuracy: Share of right predictions, likewise.
        lr: The learning rate of the last step.
        seconds: Wall-clock time.
    """

    epoch: int
    batch_loss: float
    batch_accuracy: float
    lr: float
    seconds: float


@dataclass
class History:
    """The epochs of a training, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return a table: the name of each column to its values, one an epoch."""
        rows = [asdict(epoch) for epoch in self.epochs]
        return {column.name: [row[column.name] for row in rows] for column in fields(Epoch)}


class Diverged(SharpscopeError):
    """A training that came upon a loss or a weight that is not finite.

    Args:
        what: What is wrong, as "loss became NaN".
        epoch: Where, from 1 on.
        step: Where, from 1 on, counted over the whole training.
        steps: Steps of the whole training.
        history: The epochs before.
    """

    def __init__(self, what: str, epoch: int, step: int, steps: int, history: History) -> None:
        super().__init__(f"{what} at epoch {epoch}, step {step} of {steps}; try a smaller learning rate")
        self.epoch = epoch
        self.step = step
        self.history = history
