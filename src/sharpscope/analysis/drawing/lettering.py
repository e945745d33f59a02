"""Text of the user's, such as the label of a regime, as a figure can show it, whatever it is."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cache, lru_cache

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


def shortened(text: str, room: float, size: float) -> str:
    """Return text that is no wider than so many points at a size of letters, its middle left out where it must be.

    >>> shortened("weight_decay", 60, 6), shortened("weight_decay+augmentation", 60, 6)
    ('weight_decay', 'weight_deca…tation')
    """
    if width_of(text, size) <= room:
        return text

    def left(kept: int) -> str:
        tail = 3 * kept // 8
        return f"{text[: kept - tail]}…{text[len(text) - tail :]}"

    return left(max(bisect_right(range(len(text)), room, key=lambda kept: width_of(left(kept), size)) - 1, 0))


def wrapped(text: str, room: float, size: float) -> str:
    r"""Return text in lines that are no wider than so many points at a size of letters; a word that is, is shortened.

    >>> wrapped("Fisher-Rao norm (homogeneous form)", 80, 7)
    'Fisher-Rao norm\n(homogeneous form)'
    """
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append("")
        for word in (shortened(word, room, size) for word in line.split(" ")):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if width_of(longer, size) <= room:
                lines[-1] = longer
            else:
                lines.append(word)
    return "\n".join(lines)


@lru_cache(maxsize=4096)
def width_of(text: str, size: float) -> float:
    """Return how many points wide a line is at a size of letters."""
    font = _font()
    font.set_size(size, 72)
    font.set_text(text)
    width, _ = font.get_width_height()
    return float(width) / 64


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
