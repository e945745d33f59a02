"""One color and one marker for each level of the factor, the same in every figure and in the report.

The colors are those of Okabe and Ito, told apart under every common color blindness; the markers tell the rest. Levels
that have an order have the colors of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.colors import to_hex

from sharpscope.spec import BASELINE, Factor

# Name for Plotly, for Matplotlib.
_MARKERS = (
    ("circle", "o"),
    ("square", "s"),
    ("triangle-up", "^"),
    ("diamond", "D"),
    ("triangle-down", "v"),
    ("cross", "P"),
    ("x", "X"),
    ("star", "*"),
    ("pentagon", "p"),
    ("hexagon", "h"),
)

_KNOWN = {
    "baseline": "#7A7F87",
    "sam": "#0072B2",
    "augmentation": "#E69F00",
    "augmentation+sam": "#D55E00",
    "weight_decay": "#009E73",
    "weight_decay+sam": "#CC79A7",
}
_OTHERS = ("#56B4E9", "#882255", "#999933", "#6A4C93", "#B07D48", "#117733", "#AA4499", "#44AA99")
# Of the sequences of Matplotlib that rise in lightness, this one has the most hues where the contrast to both the light
# and the dark page is at least 3: cividis is gray there, viridis nothing but green. Its ends are left out for that.
_SEQUENCE, _SEQUENCE_ENDS = colormaps["plasma"], (0.4, 0.64)


@dataclass(frozen=True)
class Style:
    """How a level is drawn.

    Attributes:
        color: As ``#rrggbb``.
        marker: Matplotlib's name of the marker.
        symbol: Plotly's name of it.
    """

    color: str
    marker: str
    symbol: str


def styles_of(factor: Factor) -> dict[str, Style]:
    """Return the look of every level of a factor: along a sequence of colors where the levels have an order."""
    if not factor.ordered:
        return _apart(factor.levels)
    return styles_in_order(sorted(factor.levels, key=factor.ranks.__getitem__), factor.lacking)


def _apart(levels: Iterable[str]) -> dict[str, Style]:
    """Return looks that are told apart: fixed for the well-known regimes, by order for others."""
    result = {}
    others = 0
    for level in levels:
        if level in _KNOWN:
            color, place = _KNOWN[level], list(_KNOWN).index(level)
        else:
            color, place = _OTHERS[others % len(_OTHERS)], len(_KNOWN) + others
            others += 1
        result[level] = _look(color, place)
    return result


def styles_in_order(levels: Iterable[str], lacking: str | None = None) -> dict[str, Style]:
    """Return looks that show the order of levels.

    Args:
        levels: The levels in their order.
        lacking: The level that lacks what the others have more or less of; it looks as the baseline does.
    """
    ordered = [level for level in levels if level != lacking]
    begin, end = _SEQUENCE_ENDS
    step = (end - begin) / max(len(ordered) - 1, 1)
    found = {level: _look(to_hex(_SEQUENCE(begin + i * step)), i + 1) for i, level in enumerate(ordered)}
    return found if lacking is None else {lacking: _look(_KNOWN[BASELINE], 0), **found}


def _look(color: str, place: int) -> Style:
    symbol, marker = _MARKERS[place % len(_MARKERS)]
    return Style(color, marker, symbol)
