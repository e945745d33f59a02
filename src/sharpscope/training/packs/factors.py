"""Numbers that networks of a pack may differ in: learning rates, momenta, decays.

What is done with some of the networks is done as with all. So to the bit a network does not depend on what numbers the
others have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise

# One number for all networks, or spans of networks with a number each: first, one behind the last, number.
Factor = float | tuple[tuple[int, int, float], ...]


def factor(values: Sequence[float]) -> Factor:
    """Return a number for each network.

    >>> factor([0.5, 0.5]), factor([1.0, 1.0, 2.0])
    (0.5, ((0, 2, 1.0), (2, 3, 2.0)))
    """
    groups = [list(group) for _, group in groupby(enumerate(values), key=lambda pair: pair[1])]
    if len(groups) == 1:
        return values[0]
    return tuple((group[0][0], group[-1][0] + 1, group[0][1]) for group in groups)


def changed(found: Factor, change: Callable[[float], float]) -> Factor:
    """Return a factor with each of its numbers changed.

    >>> changed(((0, 2, 1.0), (2, 3, 2.0)), lambda number: -number)
    ((0, 2, -1.0), (2, 3, -2.0))
    """
    if not isinstance(found, tuple):
        return change(found)
    return tuple((first, last, change(value)) for first, last, value in found)


def product(first: Factor, second: Factor) -> Factor:
    """Return the product of two factors.

    >>> product(3.0, ((0, 2, 1.0), (2, 3, 2.0)))
    ((0, 2, 3.0), (2, 3, 6.0))
    >>> product(((0, 1, 1.0), (1, 3, 2.0)), ((0, 2, 1.0), (2, 3, 2.0)))
    ((0, 1, 1.0), (1, 2, 2.0), (2, 3, 4.0))
    """
    if not isinstance(first, tuple):
        return changed(second, lambda number: first * number)
    if not isinstance(second, tuple):
        return product(second, first)
    edges = sorted({edge for span in (*first, *second) for edge in span[:2]})
    return tuple((start, end, of_network(first, start) * of_network(second, start)) for start, end in pairwise(edges))


def is_zero(found: Factor) -> bool:
    """Return whether a factor is zero for all networks.

    >>> is_zero(0.0), is_zero(((0, 1, 0.0), (1, 2, 0.1)))
    (True, False)
    """
    return not isinstance(found, tuple) and found == 0


def of_network(found: Factor, network: int) -> float:
    """Return the number of one network.

    >>> of_network(((0, 2, 1.0), (2, 3, 2.0)), 2)
    2.0
    """
    if not isinstance(found, tuple):
        return found
    return next(value for first, last, value in found if first <= network < last)
