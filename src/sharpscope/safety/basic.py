"""Accuracy and loss on the two splits: the columns that every ledger has."""

from __future__ import annotations

from sharpscope.safety.predictions import Predictions


def train_accuracy(predictions: Predictions) -> float:
    """Return the share of clean training samples that are classified right."""
    return float(predictions.train.correct.mean())


def test_accuracy(predictions: Predictions) -> float:
    """Return the share of test samples that are classified right."""
    return float(predictions.test.correct.mean())


def train_loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy on the clean training set, in nats."""
    return predictions.train.cross_entropy


def test_loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy on the test set, in nats."""
    return predictions.test.cross_entropy
