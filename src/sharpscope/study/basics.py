"""What every ledger has of a run: losses and accuracies on both clean splits."""

from __future__ import annotations

from typing import Any

from sharpscope.safety import Predictions
from sharpscope.safety.basic import test_accuracy, test_loss, train_accuracy, train_loss
from sharpscope.safety.generalization import generalization_gap

_TRAINED_ON = "on the training set, not augmented, with the labels trained on"
_FACTS = {
    "train_loss": ("training", "Train loss", "lower", "nats", f"Mean cross-entropy {_TRAINED_ON}"),
    "test_loss": ("score", "Test loss", "lower", "nats", "Mean cross-entropy on the test set"),
    "train_accuracy": ("training", "Train accuracy", "higher", "fraction", f"Accuracy {_TRAINED_ON}"),
    "test_accuracy": ("score", "Test accuracy", "higher", "fraction", "Accuracy on the test set"),
}
# The facts of each by the name of its column.
BASICS: dict[str, dict[str, Any]] = {
    name: dict(zip(("kind", "label", "better", "unit", "summary"), facts, strict=True))
    for name, facts in _FACTS.items()
}
# The score that every snapshot before the end has as well.
GAP = "generalization_gap"
# Scores that every ledger has under another name already; a report tells them once.
TWINS = {"accuracy": "test_accuracy", "nll": "test_loss"}
# The primary family of a study that does not declare one, as far as it is measured.
PRIMARY = ("relative_flatness", "fisher_rao_norm", "test_accuracy", "ece", "corruption_accuracy")


def basics(predictions: Predictions) -> dict[str, float]:
    """Return loss and accuracy on both splits, by the names of their columns."""
    functions = (train_loss, test_loss, train_accuracy, test_accuracy)
    return {function.__name__: function(predictions) for function in functions}


def basics_and_gap(predictions: Predictions) -> dict[str, float]:
    """Return ``basics`` and the score named ``GAP``."""
    return {**basics(predictions), GAP: generalization_gap(predictions)}
