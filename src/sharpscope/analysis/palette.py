"""One color and one marker for each regime, the same in every figure and in the report.

The colors are those of Okabe and Ito, told apart under every common color blindness; the markers tell the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Look:
    """How a regime is drawn.

    Attributes:
        color: As ``#rrggbb``.
        marker: Matplotlib's name of the marker.
        symbol: Plotly's name of it.
    """

    color: str
    marker: str
    symbol: str


def looks(regimes: Iterable[str]) -> dict[str, Look]:
    """Return the look of every regime: fixed for the well-known ones, by order for the others."""
    result = {}
    others = 0
    for regime in regimes:
        if regime in _KNOWN:
            color, place = _KNOWN[regime], list(_KNOWN).index(regime)
        else:
            color, place = _OTHERS[others % len(_OTHERS)], len(_KNOWN) + others
            others += 1
        symbol, marker = _MARKERS[place % len(_MARKERS)]
        result[regime] = Look(color, marker, symbol)
    return result
