"""Tasks: what a study of classification or of regression tells of its runs. Needs no torch.

What a task computes with tensors is in ``sharpscope.objective``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_TRAINED_ON = "on the training set, not augmented, with the labels trained on"


@dataclass(frozen=True)
class Basic:
    """Facts of a column that every ledger of a task has.

    Attributes:
        kind: Whether it tells of the training or of what the function is worth.
        label: Its name in a report.
        better: Which direction is better.
        unit: "fraction", "nats", ...; empty where it has none.
        summary: One line that says what it is.
        scale: Whether values are compared by their ratio or by their difference.
        by_classes: Whether it depends on the predicted classes alone, so that no temperature changes it.
    """

    kind: Literal["training", "score"]
    label: str
    better: Literal["higher", "lower"]
    unit: str
    summary: str
    scale: Literal["ratio", "difference"]
    by_classes: bool = False


@dataclass(frozen=True)
class Task:
    """What is asked of a network.

    Attributes:
        name: ``classification`` or ``regression``.
        loss: What is minimized, by the name that measures know it under.
        basics: The columns that every ledger has, in their order.
        gap: The score of generalization that is told at a matched train loss, too.
        aliases: Scores that every ledger has as a column of ``basics`` already; a report tells them once.
        primary: The primary family of a study that does not declare one, as far as it is measured.
        classes: Whether a prediction is one of several classes, with a probability of being right.
    """

    name: str
    loss: str
    basics: Mapping[str, Basic]
    gap: str
    aliases: Mapping[str, str]
    primary: tuple[str, ...]
    classes: bool

    @property
    def at_loss(self) -> tuple[str, ...]:
        """What is told of predictions at a matched train loss, beside the measures."""
        return (*self.basics, self.gap)

    @classmethod
    def of(cls, catalog: Mapping[str, Any]) -> Task:
        """Return the task of a study by its catalog; those from before there were tasks are of classification."""
        return TASKS[catalog.get("task", CLASSIFICATION.name)]


CLASSIFICATION = Task(
    name="classification",
    loss="cross_entropy",
    basics={
        "train_loss": Basic("training", "Train loss", "lower", "nats", f"Mean cross-entropy {_TRAINED_ON}", "ratio"),
        "test_loss": Basic("score", "Test loss", "lower", "nats", "Mean cross-entropy on the test set", "ratio"),
        "train_accuracy": Basic(
            "training", "Train accuracy", "higher", "fraction", f"Accuracy {_TRAINED_ON}", "difference", by_classes=True
        ),
        "test_accuracy": Basic(
            "score", "Test accuracy", "higher", "fraction", "Accuracy on the test set", "difference", by_classes=True
        ),
    },
    gap="generalization_gap",
    aliases={"accuracy": "test_accuracy", "nll": "test_loss"},
    primary=("relative_flatness", "fisher_rao_norm", "test_accuracy", "ece", "corruption_accuracy"),
    classes=True,
)

_R2 = "Share of the variance of the targets that is explained"
REGRESSION = Task(
    name="regression",
    loss="mse",
    basics={
        "train_loss": Basic("training", "Train loss", "lower", "", "Mean squared error on the training set", "ratio"),
        "test_loss": Basic("score", "Test loss", "lower", "", "Mean squared error on the test set", "ratio"),
        "train_r2": Basic("training", "Train R2", "higher", "fraction", f"{_R2}, on the training set", "difference"),
        "test_r2": Basic("score", "Test R2", "higher", "fraction", f"{_R2}, on the test set", "difference"),
    },
    gap="r2_gap",
    aliases={"r2": "test_r2"},
    primary=("relative_flatness", "fisher_rao_norm", "test_r2", "r2_gap"),
    classes=False,
)

TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION)}
