"""Predictions made up for the tests of scores."""

import numpy as np
import pytest

from sharpscope.condition import Case
from sharpscope.safety import Predictions, Split


def split_of(n, classes, seed, noise=None):
    """A split; the seed gives targets and logits, ``noise`` other logits."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    rng = rng if noise is None else np.random.default_rng(noise)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), targets] += 1.5
    return Split(logits, targets)


CASES = [Case("blur", 1), Case("blur", 2), Case("noise", 1, family="noise"), Case("rounded", 8, "weights")]


@pytest.fixture
def predictions():
    """A run of seven classes, under conditions of inputs and of weights."""
    under = {case: split_of(400, 7, 1, noise=2 + k).condensed() for k, case in enumerate(CASES)}
    return Predictions(split_of(300, 7, 0), split_of(400, 7, 1), under)
