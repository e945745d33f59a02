"""Accuracy and loss on the two splits: the columns that every ledger has."""

from __future__ import annotations

import numpy as np

from sharpscope.safety.predictions import Predictions, Split


def train_accuracy(predictions: Predictions) -> float:
    """Return the share of clean training samples that are classified right."""
    return float(predictions.train.correct.mean())


def test_accuracy(predictions: Predictions) -> float:
    """Return the share of test samples that are classified right."""
    return float(predictions.test.correct.mean())


def train_loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy on the clean training set, in nats."""
    return cross_entropy(predictions.train)


def test_loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy on the test set, in nats."""
    return cross_entropy(predictions.test)


def cross_entropy(split: Split) -> float:
    """Return the mean of -log of the probability given to the true class, in nats."""
    return float(-np.take_along_axis(split.log_probabilities, split.targets[:, None], axis=1).mean())
