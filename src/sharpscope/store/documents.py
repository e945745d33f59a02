"""JSON documents that hold their own seals.

Floats that JSON has no number for are the strings "NaN", "Infinity" and "-Infinity" there, so that a file is valid
JSON; all others are written so that they read back to the last bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sharpscope.store.seals import KEY, UNSEALED, BrokenSeal, check_sealed, sealed

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(tree: Any) -> Any:
    """Return a tree as JSON would give it back: tuples become lists, keys become strings."""
    return json.loads(json.dumps(tree, default=_builtin))


def document(content: Mapping[str, Any]) -> bytes:
    """Return a mapping as a JSON document that holds its own seal."""
    return sealed(encode({KEY: UNSEALED, **content}))


def content_of(data: bytes) -> dict[str, Any]:
    """Return what ``document`` was given, as JSON has it.

    Raises:
        BrokenSeal: If it is not as it was written; the message is "is damaged" or the like.
    """
    check_sealed(data)
    try:
        content: dict[str, Any] = json.loads(data)
        del content[KEY]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BrokenSeal("is damaged") from None
    return content


def encode(tree: Any) -> bytes:
    """Return valid JSON for a tree of plain values, whatever its floats are."""
    return (json.dumps(_named_floats(tree), indent=1, allow_nan=False, default=_builtin) + "\n").encode()


def numeric(tree: Any) -> Any:
    """Return a tree with the floats that JSON has no number for in the place of their names."""
    if isinstance(tree, str):
        return _NOT_FINITE.get(tree, tree)
    if isinstance(tree, dict):
        return {key: numeric(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [numeric(value) for value in tree]
    return tree


def _named_floats(tree: Any) -> Any:
    if isinstance(tree, float) and not math.isfinite(tree):
        return "NaN" if math.isnan(tree) else ("Infinity" if tree > 0 else "-Infinity")
    if isinstance(tree, Mapping):
        return {str(key): _named_floats(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_named_floats(value) for value in tree]
    return tree


def _builtin(value: Any) -> Any:
    """Turn numbers and arrays of NumPy and PyTorch into Python's; anything else into its text."""
    return _named_floats(value.tolist()) if hasattr(value, "tolist") else str(value)
