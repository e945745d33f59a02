"""Why something went wrong, as one line for a record or a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from sharpscope.errors import by_reason


def lacks(missing: Mapping[str, str]) -> str:
    """Return what a run lacks and why as one line; empty if nothing.

    >>> lacks({"margin": "no head", "head_norm": "no head", "ece": "no data"})
    'lacks margin, head_norm (no head); ece (no data)'
    """
    told = "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in by_reason(missing).items())
    return f"lacks {told}" if told else ""
