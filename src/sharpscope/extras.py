"""Packages that only some features need, imported where they are used."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from sharpscope.errors import SharpscopeError

# The modules of the extra "study" that nothing of the core brings.
STUDY = (
    "matplotlib",
    "pandas",
    "platformdirs",
    "plotly",
    "pyarrow",
    "rich",
    "sklearn",
    "threadpoolctl",
    "typer",
    "yaml",
)


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
        # Another package than the module's own may be missing.
        package = (reason.name or module).partition(".")[0]
        raise error(_sentence(f"{needed_by} needs the package {package} ({reason})", extra)) from None


def require_study(needed_by: str) -> None:
    """See that the extra "study" is installed, before anything is begun that would fail without it later.

    Args:
        needed_by: What needs it, for the message.

    Raises:
        SharpscopeError: If a package of it is missing.
    """
    missing = [module for module in STUDY if not installed(module)]
    if missing:
        raise SharpscopeError(_sentence(f"{needed_by} needs the extra study ({', '.join(missing)} missing)", "study"))


def installed(module: str) -> bool:
    """Return whether a package can be imported, without importing it.

    >>> installed("math"), installed("nowhere")
    (True, False)
    """
    return importlib.util.find_spec(module) is not None


def _sentence(need: str, extra: str) -> str:
    return f"{need}; install it with: pip install 'sharpscope[{extra}]'"
