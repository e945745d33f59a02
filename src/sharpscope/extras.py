"""Packages that only some features need, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from sharpscope.errors import SharpscopeError


def optional(module: str, extra: str, needed_by: str, error: type[SharpscopeError]) -> Any:
    """Return a module of a package that an extra installs.

    Args:
        module: The module.
        extra: The extra of this package that brings it.
        needed_by: What needs it, for the message.
        error: What to raise where it is missing.

    >>> optional("math", "none", "arithmetic", SharpscopeError).sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as reason:
        package = module.partition(".")[0]
        raise error(
            f"{needed_by} needs the package {package} ({reason}); install it with: pip install 'sharpscope[{extra}]'"
        ) from None
