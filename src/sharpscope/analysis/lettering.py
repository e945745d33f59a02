"""Text of the user's, such as the label of a regime, as a figure can show it, whatever it is."""

from __future__ import annotations

import unicodedata
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font

FAMILY = "DejaVu Sans"  # ships with Matplotlib, so every machine draws the same
LONGEST = 48  # characters; more leave no room for what the figure is about
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def lettered(text: str) -> str:
    """Return text as one line that the font has and that has room in a figure; nothing in it is a command.

    Characters that the font lacks become the sign for that. Of a long text the middle is left out, since labels that
    differ do so at their ends more often.

    >>> lettered("sam,  rho = 0.1"), lettered("_sam")[1:]
    ('sam, rho = 0.1', '_sam')
    >>> lettered("x" * 30 + "y" * 30)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…yyyyyyyyyyyyyyyyy'
    """
    line = "".join(map(_drawn, " ".join(text.split())))
    if len(line) > LONGEST:
        line = f"{line[:30]}…{line[30 - LONGEST + 1 :]}"
    # Matplotlib leaves what begins with an underscore out of a legend.
    return f" {line}" if line.startswith("_") else line


@cache
def _drawn(character: str) -> str:
    if unicodedata.category(character) in {"Cf", "Mn", "Me"} and not _has(character):
        return ""
    return character if _has(character) else _UNKNOWN


def _has(character: str) -> bool:
    return _font().get_char_index(ord(character)) != 0


@cache
def _font() -> FT2Font:
    return get_font(findfont(FontProperties(family=FAMILY)))
