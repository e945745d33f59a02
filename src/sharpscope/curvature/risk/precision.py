"""Half precision inside a model that is measured: switched off where autocast brings it in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_enter = torch.autocast.__enter__
_lock = threading.Lock()
_blocks = 0


class _Here(threading.local):
    """How many blocks without autocast this thread is in."""

    depth = 0


_here = _Here()


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Leave autocast for a block, and let it do nothing where this thread enters it in the block.

    Args:
        device: Whose autocast is left.
    """
    global _blocks
    with torch.autocast(device.type, enabled=False):
        with _lock:
            _blocks += 1
            torch.autocast.__enter__ = _enter_without_effect  # type: ignore[method-assign]
        _here.depth += 1
        try:
            yield
        finally:
            _here.depth -= 1
            with _lock:
                _blocks -= 1
                if not _blocks:
                    torch.autocast.__enter__ = _enter  # type: ignore[method-assign]


def _enter_without_effect(self: torch.autocast) -> Any:
    entered = _enter(self)
    if _here.depth:
        # Leaving it puts back what was before, in any case.
        torch.set_autocast_enabled(self.device, False)
    return entered
