"""What a training records of itself, and how it says that it diverged. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sharpscope.errors import SharpscopeError


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        epoch: From 1 on.
        batch_loss: Mean loss over the samples as the batches came, augmented where the regime augments, each
            before its step and in train mode: not the loss on the clean training set.
        batch_accuracy: Share of right predictions, likewise; None where none is right or wrong.
        lr: The learning rate of the last step.
        seconds: Wall-clock time.
    """

    epoch: int
    batch_loss: float
    batch_accuracy: float | None
    lr: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Kept:
    """Weights that a training had on its way, when a loss was first as small as asked.

    Attributes:
        asked: The loss that was asked for.
        epoch: In which epoch, from 1 on.
        step: After how many steps, counted over the whole training.
        loss: The loss that was found: ``asked`` or less.
        weights: The state dict of the model, contiguous and on the CPU; losses crossed at once share it.
    """

    asked: float
    epoch: int
    step: int
    loss: float
    weights: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {column.name: getattr(self, column.name) for column in fields(self)}


@dataclass
class History:
    """The epochs of a training, in order, and how it ended.

    Attributes:
        epochs: A record of each.
        ended: What ended it: ``epochs``, ``loss`` (the one to stop at) or ``patience`` (early stopping); empty before.
        step: After how many steps the model had the weights that it has now: fewer than were taken if those of an
            earlier step are the result.
        best_epoch: The epoch whose weights the model has by early stopping; None if it has those of the last epoch.
        at_loss: Weights by the train loss at which they were to be kept, from the largest on; losses that were never
            reached are absent.
        at_step: Weights by the step after which they were to be kept, as far as the training came.
    """

    epochs: list[Epoch] = field(default_factory=list)
    ended: str = ""
    step: int = 0
    best_epoch: int | None = None
    at_loss: dict[float, Kept] = field(default_factory=dict)
    at_step: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return a table: the name of each column to its values, one an epoch; without accuracy where there is none."""
        columns = {column.name: [getattr(epoch, column.name) for epoch in self.epochs] for column in fields(Epoch)}
        return {name: values for name, values in columns.items() if not values or values[0] is not None}


class Diverged(SharpscopeError):
    """A training that came upon a loss, a weight or only gradients that are not finite.

    Args:
        what: What is wrong, as "loss became NaN".
        epoch: Where, from 1 on.
        step: Where, from 1 on, counted over the whole training.
        steps: Steps of the whole training.
        history: The epochs before.
        advice: What to do.
    """

    def __init__(
        self,
        what: str,
        epoch: int,
        step: int,
        steps: int,
        history: History,
        advice: str = "try a smaller learning rate",
    ) -> None:
        super().__init__(f"{what} at epoch {epoch}, step {step} of {steps}; {advice}")
        self.epoch = epoch
        self.step = step
        self.history = history
