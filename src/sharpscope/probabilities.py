"""Telling probabilities from logits: a second softmax makes wrong numbers of the former without a word."""

from __future__ import annotations

from typing import Any

# Of a sum over classes, by the bytes of a number: half precision rounds each probability.
_ROUNDING = {2: 1e-2, 4: 1e-5, 8: 1e-5}


def are_probabilities(outputs: Any) -> bool:
    """Return whether each row is a distribution over classes: nothing negative, and a sum of 1 within rounding.

    Logits are that by an accident too rare to count. The single output of a sample says nothing.

    Args:
        outputs: Array or tensor of floating-point numbers, shape ``[N, C]``.

    >>> import numpy as np
    >>> are_probabilities(np.array([[0.25, 0.75], [1.0, 0.0]]))
    True
    >>> are_probabilities(np.array([[0.25, 0.75], [1.0, 1.0]]))
    False
    """
    if outputs.shape[1] < 2 or not (outputs >= 0).all():
        return False
    return bool((abs(outputs.sum(1) - 1) <= _ROUNDING.get(outputs.dtype.itemsize, 1e-5)).all())
