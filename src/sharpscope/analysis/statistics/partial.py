"""Partial correlations of values over few runs: what two quantities share beside a curve of others."""

from __future__ import annotations

import numpy as np

LEFT_FREE = 3  # dimensions that a curve must leave, where a straight line leaves more
_LEAST_FREE = 2  # in one dimension every correlation is 1 or -1
_ROUNDING = 1e-12
_TOLD = 1e-9  # share of a quantity's size below which what is left of it is rounding


def takes_squares(runs: int, held: int = 1) -> bool:
    """Return whether so many runs are enough to take out the squares of what is held fixed too.

    >>> [takes_squares(5), takes_squares(6), takes_squares(6, held=2), takes_squares(8, held=2)]
    [False, True, False, True]
    """
    return runs - 1 - 2 * held >= LEFT_FREE


def partial_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the correlation of quantities with others over some runs, given third ones.

    The parabola of least squares in each third quantity is taken out of both, where the runs leave three dimensions
    beside (six runs of one third quantity); else the straight line. A line alone leaves a curve to be shared: a
    parabola of the loss, with a loss that is a cubic of the dose, had -0.72 with the dose in the mean.

    They are of values, not of ranks: a handful of ranks tells a third quantity so coarsely that two that follow it
    alone had a partial rank correlation of 0.33 in the mean.

    Args:
        x: Shape ``[p, runs]``, without NaN.
        y: Shape ``[q, runs]``, without NaN.
        given: What is held fixed, shape ``[g, runs]``, without NaN.

    Returns:
        Shape ``[p, q]``; NaN where the third quantities tell all of one, where one of them is constant, or where fewer
        than two dimensions are left.

    Reference: Frisch & Waugh, "Partial Time Regressions as Compared with Individual Trends", Econometrica 1933.
    """
    taken = _taken_out(given)
    if taken is None:
        return np.full((len(x), len(y)), np.nan)
    return _left(x, taken) @ _left(y, taken).T


def _taken_out(given: np.ndarray) -> np.ndarray | None:
    """Return directions of norm one that span what is taken out, shape ``[runs, directions]``; None where undefined."""
    held, runs = given.shape
    lines = given - given.mean(axis=1, keepdims=True)
    size = np.sqrt(np.sum(lines**2, axis=1, keepdims=True))
    if not (size > _ROUNDING * np.sqrt(np.sum(given**2, axis=1, keepdims=True))).all():
        return None
    lines = lines / size
    columns = [*lines, *(lines**2 if takes_squares(runs, held) else ())]
    found = [np.full(runs, 1 / np.sqrt(runs))]
    for column in columns:
        # Twice is enough: what is left after once may still lean on the others by its rounding.
        rest = column
        for _ in range(2):
            rest = rest - sum(direction * (direction @ rest) for direction in found)
        norm = np.sqrt(rest @ rest)
        if norm > _TOLD * np.sqrt(column @ column):  # else the others tell all of it
            found.append(rest / norm)
    return np.stack(found, axis=1) if runs - len(found) >= _LEAST_FREE else None


def _left(values: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return what is left of quantities, each of norm one; NaN where nothing is left but rounding."""
    rest = values - (values @ taken) @ taken.T
    norm = np.sqrt(np.sum(rest**2, axis=1, keepdims=True))
    size = np.sqrt(np.sum(values**2, axis=1, keepdims=True))
    return np.divide(rest, norm, out=np.full(rest.shape, np.nan), where=norm > _TOLD * size)
