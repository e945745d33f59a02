"""What keeps a report cheap that has nothing to do with what it says."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

# As many new containers as a figure or two have; usually a collection follows each 700 or 2,000.
_NEW_CONTAINERS = 100_000


@contextlib.contextmanager
def thrifty() -> Iterator[None]:
    """Spend less processor time on what is done within: linear algebra in one thread, and rare garbage collections.

    Statistics multiply thousands of small matrices, on which threads wait for one another longer than they work. Runs
    and figures are hundreds of thousands of small objects, which each collection would go through again.
    """
    usual = gc.get_threshold()
    gc.set_threshold(max(_NEW_CONTAINERS, usual[0]) if usual[0] else 0, *usual[1:])
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        gc.set_threshold(*usual)
