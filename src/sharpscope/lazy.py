"""Modules whose names are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from sharpscope.errors import SharpscopeError
from sharpscope.extras import optional


def lazily(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a module that passes names of other modules on.

    Args:
        module: Its name.
        homes: By name, the module that defines it.

    Returns:
        The two functions. The first raises a ``SharpscopeError`` where a name needs an extra that is not installed.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        return getattr(optional(homes[name], "study", f"{module}.{name}", SharpscopeError), name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return find, names
