"""Predictions made up for the tests of scores."""

import numpy as np
import pytest

from sharpscope.safety import Corrupted, Predictions, Split


def split_of(n, classes, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), targets] += 1.5
    return Split(logits, targets)


@pytest.fixture
def predictions():
    train, test = split_of(300, 7, 0), split_of(400, 7, 1)
    rng = np.random.default_rng(2)
    predicted = rng.integers(0, 7, (4, 400))
    confidence = rng.random((4, 400)).astype(np.float16)
    names = ("blur-1", "blur-2", "noise-1", "noise-2")
    return Predictions(train, test, Corrupted(names, predicted, confidence))
