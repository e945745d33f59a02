"""Docstrings in parts: what stands before their sections, and the sections by their titles."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Examples|Unit|Cost|References?):\s*", re.MULTILINE)
_ITEM = re.compile(r"^    (\*{0,2}\w+): ", re.MULTILINE)


def parts(thing: Any) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring, and its sections as written."""
    text, *rest = _SECTION.split(inspect.getdoc(thing) or "")
    return text.rstrip(), {title: content.rstrip() for title, content in zip(rest[::2], rest[1::2], strict=True)}


def explained(thing: Any, title: str) -> dict[str, str]:
    """Return a section that explains names, such as "Args": each name with its explanation, in lines as written.

    >>> sorted(explained(explained, "Args"))
    ['thing', 'title']

    Args:
        thing: A function or class.
        title: The title of the section.
    """
    content = parts(thing)[1].get(title, "")
    _, *rest = _ITEM.split(content if content.startswith(" ") else f"    {content}")
    return dict(zip(rest[::2], rest[1::2], strict=True))


def one_line(text: str) -> str:
    """Return text without its line breaks."""
    return " ".join(text.split())
