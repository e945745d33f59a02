"""Why something went wrong, as one line for a record or a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.errors import SharpscopeError, by_reason


def lacks(missing: Mapping[str, str]) -> str:
    """Return what a run lacks and why as one line; empty if nothing.

    >>> lacks({"margin": "no head", "head_norm": "no head", "ece": "no data"})
    'lacks margin, head_norm (no head); ece (no data)'
    """
    told = "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in by_reason(missing).items())
    return f"lacks {told}" if told else ""


def one_line(error: BaseException) -> str:
    """Return an error as one line.

    >>> one_line(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    """
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    text = " ".join(str(error).split())
    return text if isinstance(error, SharpscopeError) else f"{type(error).__name__}: {text}"
