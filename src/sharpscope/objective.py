"""What a task computes with tensors: its loss, what is right, and whether targets and outputs are what it needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sharpscope.curvature.passes.logits import probabilities_in
from sharpscope.errors import DataError
from sharpscope.task import CLASSIFICATION, REGRESSION, Task


class Objective(ABC):
    """A task of networks.

    Attributes:
        task: What a study tells of it.
        output: What a model returns for a sample, in words.
    """

    task: Task
    output: str

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs ``[N, C]``, a scalar that can be differentiated."""

    @abstractmethod
    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the losses of samples, none of which is negative."""

    @abstractmethod
    def right(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return how many predictions are right, a scalar; None where none is right or wrong."""

    @abstractmethod
    def outputs(self, targets: Tensor, classes: Sequence[str]) -> int:
        """Return how many outputs a model has for such targets."""

    @abstractmethod
    def strata(self, targets: Tensor) -> Tensor:
        """Return the group of each sample, int64 ``[N]``: what is held out has its share of each."""

    @abstractmethod
    def check_declared(self, dataset: str, classes: Sequence[str]) -> None:
        """See that a dataset declares what it must.

        Raises:
            DataError: If it does not.
        """

    @abstractmethod
    def check_targets(self, dataset: str, split: str, targets: Tensor, samples: int, classes: Sequence[str]) -> None:
        """See that the targets of a split are what the loss needs.

        Args:
            dataset: The name of the dataset.
            split: "training" or "test".
            targets: Of the split.
            samples: Number of its inputs.
            classes: That the dataset declares.

        Raises:
            DataError: If they are not.
        """

    def check_varied(self, dataset: str, split: str, targets: Tensor) -> None:
        """See that the targets of a whole split are such that every column of the ledger has a value.

        Raises:
            DataError: If they are not.
        """
        return

    def refused(self, outputs: Tensor, again: Callable[[], Tensor]) -> str | None:
        """Return why outputs of the right shape are not what the loss needs, in words; None where they are.

        Args:
            outputs: Of a model in eval mode.
            again: Returns them once more, with their graph.
        """
        return None


class Classification(Objective):
    """Telling classes apart, by cross-entropy on logits.

    Targets are class indices, int64 ``[N]``, or in a training that mixes samples probabilities ``[N, C]``, of which the
    largest counts as right.
    """

    task = CLASSIFICATION
    output = "a logit for each class"

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy, in nats.

        Args:
            outputs: Logits ``[N, C]``.
            targets: Class indices or probabilities.
            label_smoothing: The share of the probability that is spread evenly over all classes.
        """
        return cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the cross-entropies."""
        return cross_entropy(outputs, targets, reduction="sum")

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how many samples have their largest logit at their class."""
        if targets.ndim == 2:
            targets = targets.argmax(dim=1)
        return (outputs.argmax(dim=1) == targets).sum()

    def outputs(self, targets: Tensor, classes: Sequence[str]) -> int:
        """Return the number of classes."""
        return len(classes)

    def strata(self, targets: Tensor) -> Tensor:
        """Return the classes."""
        return targets

    def check_declared(self, dataset: str, classes: Sequence[str]) -> None:
        """See that there are two classes."""
        if len(classes) < 2:
            number = f"{len(classes)} class{'es' * (not classes)}"
            raise DataError(f"dataset '{dataset}' has {number}, and it takes two to tell them apart")

    def check_targets(self, dataset: str, split: str, targets: Tensor, samples: int, classes: Sequence[str]) -> None:
        """See that they are class indices."""
        if targets.shape != (samples,) or targets.dtype != torch.int64:
            raise DataError(
                f"dataset '{dataset}' needs one int64 target for each of its {samples} {split} inputs, "
                f"got {targets.dtype} of shape {tuple(targets.shape)}"
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= len(classes):
            raise DataError(
                f"dataset '{dataset}' declares {len(classes)} classes, so its {split} targets must "
                f"lie in 0..{len(classes) - 1}, got {low}..{high}"
            )

    def refused(self, outputs: Tensor, again: Callable[[], Tensor]) -> str | None:
        """Return why they are no logits."""
        found = probabilities_in(outputs, again)
        if found is None:
            return None
        return (
            f"{found}, and training and scores apply a softmax themselves; let it return logits, without its last layer"
        )


class Regression(Objective):
    """Predicting numbers, by their mean squared error.

    Targets are float32, ``[N]`` for one number a sample, or ``[N, D]``; outputs are ``[N, 1]`` or ``[N, D]``.
    """

    task = REGRESSION
    output = "a number for each that a sample has as its target"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error, averaged over samples and outputs."""
        return (outputs - targets.reshape(outputs.shape)).square().mean()

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over samples of the squared error, averaged over outputs."""
        return (outputs - targets.reshape(outputs.shape)).square().mean(dim=1).sum()

    def right(self, outputs: Tensor, targets: Tensor) -> None:
        """Return nothing: a number is near or far, not right or wrong."""
        return

    def outputs(self, targets: Tensor, classes: Sequence[str]) -> int:
        """Return the number of numbers in a target."""
        return targets.shape[1] if targets.ndim == 2 else 1

    def strata(self, targets: Tensor) -> Tensor:
        """Return one group for all."""
        return torch.zeros(len(targets), dtype=torch.int64)

    def check_declared(self, dataset: str, classes: Sequence[str]) -> None:
        """See that there are no classes."""
        if classes:
            raise DataError(
                f"dataset '{dataset}' is one of regression, and declares {len(classes)} classes; leave them out, or "
                "declare its task as classification"
            )

    def check_targets(self, dataset: str, split: str, targets: Tensor, samples: int, classes: Sequence[str]) -> None:
        """See that they are finite numbers, as many for each sample."""
        shaped = targets.ndim in (1, 2) and len(targets) == samples and 0 not in targets.shape
        if not shaped or targets.dtype != torch.float32:
            raise DataError(
                f"dataset '{dataset}' needs float32 targets of shape [{samples}] or [{samples}, D] for its {samples} "
                f"{split} inputs, got {targets.dtype} of shape {tuple(targets.shape)}"
            )
        if not torch.isfinite(targets).all():
            raise DataError(f"dataset '{dataset}' has {split} targets that are NaN or infinite; leave them out")

    def check_varied(self, dataset: str, split: str, targets: Tensor) -> None:
        """See that they are not all alike: R2 is not defined then."""
        if bool((targets == targets[:1]).all()):
            raise DataError(f"dataset '{dataset}' has {split} targets that are all alike, so R2 is not defined")


OBJECTIVES: dict[str, Objective] = {each.task.name: each for each in (Classification(), Regression())}
