"""Why something went wrong, as one line for a record or a terminal."""

from __future__ import annotations

from sharpscope.errors import SharpscopeError


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
