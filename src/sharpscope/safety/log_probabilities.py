"""Log-probabilities that keep their digits where a class is nearly certain."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities, each as exact as its logits are; float64 ``[N, C]``.

    That of a class that is nearly certain is minus the small sum of the others' shares, which is lost once the 1 of its
    own is added to it: above a margin of 37 nothing would be left.

    Args:
        logits: In float64, shape ``[N, C]``.

    >>> log_softmax(np.array([[50.0, 0.0]])).tolist()
    [[-1.9287498479639178e-22, -50.0]]
    """
    below = logits - logits.max(axis=1, keepdims=True)
    shares = np.exp(below)
    np.put_along_axis(shares, logits.argmax(axis=1)[:, None], 0.0, axis=1)
    return below - np.log1p(shares.sum(axis=1, keepdims=True))
