"""Results that several scores are made of, computed once for each split."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def shared(function: Callable[..., T]) -> Callable[..., T]:
    """Return a function of a split and of plain arguments that keeps each result with the split, as long as that lives.

    What it keeps is not to be changed by those who get it.

    >>> from types import SimpleNamespace
    >>> split, calls = SimpleNamespace(), []
    >>> once = shared(lambda split, bins: calls.append(bins))
    >>> once(split, 15), once(split, 15), once(split, 10), calls
    (None, None, None, [15, 10])
    """

    @functools.wraps(function)
    def kept(split: Any, *arguments: Any) -> T:
        # As a cached property keeps its value; a split holds arrays, so that it cannot be the key of a mapping.
        results: dict[Any, T] = vars(split).setdefault("_shared", {})
        key = (function, *arguments)
        if key not in results:
            results[key] = function(split, *arguments)
        return results[key]

    return kept
