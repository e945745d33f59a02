"""Values of a study as columns of tables, as text, and by the dotted keys that lead to them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from sharpscope.errors import SpecError

# What a word stands for where it is given in place of a mapping: the value of this key.
BY_A_WORD = {"data": "name", "model": "name", "compare": "factor"}

_EXACT = 1e15  # a whole number below is told from its neighbors by a float, and in a line


def repeats(values: list[Any]) -> bool:
    """Return whether a value stands in a list twice; to Python as to a table, 1 is 1.0, and in a table 1 is "1"."""
    same = {value if isinstance(value, Hashable) else repr(value) for value in values}
    return min(len(same), len(set(map(value_text, values)))) < len(values)


def is_column(values: list[Any]) -> bool:
    """Return whether values are of one kind, as a column of a table is; some may be missing."""
    kinds = {
        float if isinstance(value, int | float) and not isinstance(value, bool) else type(value) for value in values
    }
    return len(kinds - {type(None)}) == 1 and not kinds & {list, dict}


def as_text(value: Any) -> str:
    """Return a value as it stands in a study.

    >>> as_text([64, 64]), as_text({"nesterov": True}), as_text(None)
    ('[64, 64]', '{nesterov: true}', 'null')
    """
    import yaml  # only here, since regimes can be had with the library alone

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip()


def value_text(value: Any) -> str:
    """Return the value of a key in words as the study has it, whether it comes from there or from a table.

    >>> value_text(0.10), value_text(1e-5), value_text(1 / 3), value_text(True), value_text([64])
    ('0.1', '1e-05', '0.3333333333333333', 'true', '[64]')
    >>> value_text(None), value_text(float("nan")), value_text(128.0)  # as tables hold null, and 128 beside it
    ('null', 'null', '128')
    """
    if is_missing(value):
        return "null"
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float):
        short = str(int(plain)) if plain.is_integer() and abs(plain) < _EXACT else f"{plain:g}"
        return short if float(short) == plain else repr(plain)
    return str(plain) if isinstance(plain, str | int) and not isinstance(plain, bool) else as_text(plain)


def is_missing(value: Any) -> bool:
    """Return whether a value is null, or what tables hold for it."""
    return value is None or bool(value != value)


def set_dotted(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set ``tree["training"]["lr"]`` for the key ``training.lr``; a component given by its name alone is opened."""
    *path, last = key.split(".")
    for step in path:
        inner = tree.get(step)
        if isinstance(inner, str):
            inner = {BY_A_WORD.get(step, "name"): inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise SpecError(f"'{key}' leads into {step}, which is {inner!r} and has no parts", (key,))
        tree[step] = inner
        tree = inner
    tree[last] = value
