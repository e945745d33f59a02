"""Modules whose names are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sharpscope.errors import SharpscopeError
from sharpscope.extras import optional


def lazily(module: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a module that passes names of other modules on.

    Args:
        module: Its name.
        homes: By module, the names that are taken from it.

    Returns:
        The two functions. The first raises a ``SharpscopeError`` where a name needs an extra that is not installed.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        return getattr(optional(home_of[name], "study", f"{module}.{name}", SharpscopeError), name)

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[module]), *home_of})

    return find, listed
