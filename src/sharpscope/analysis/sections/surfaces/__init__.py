"""Surfaces of known functions and of what networks have made of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, to_hex

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.plane import image
from sharpscope.analysis.results import describe_group
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.surfaces.data import ErrorScale, Panel, panels_of
from sharpscope.analysis.sections.surfaces.figure import ERRORS, HEIGHTS, pictures

_STOPS = 9


@SECTIONS.register(facts=SectionFacts("Surfaces", place=27, template=beside(__file__)))
def surfaces(evidence: Evidence) -> Content:
    """Target, fit and error at each point of the plane, for known functions of two numbers."""
    results = evidence.results
    shown = [] if results.task.classes else panels_of(results)
    if not shown:
        return Content()
    return Content(_page(shown), figures={"surfaces": partial(pictures, results, shown)})


def _page(shown: list[Panel]) -> dict[str, Any]:
    scale = ErrorScale.of(shown)
    sets: dict[str, list[dict[str, Any]]] = {}
    for panel in shown:
        sets.setdefault(describe_group(panel.group), []).append(_drawn(panel, scale))
    return {
        "sets": [{"title": title, "panels": panels} for title, panels in sets.items()],
        "heights": _gradient(HEIGHTS),
        "errors": _gradient(ERRORS),
        "ticks": scale.ticks,
        "several": max(panel.seeds for panel in shown) > 1,
    }


def _drawn(panel: Panel, scale: ErrorScale) -> dict[str, Any]:
    heights = [(panel.target, "target"), (panel.fits[0], f"fit of seed {panel.seed}")]
    tiles = [_tile(panel, values, name) for values, name in heights]
    tiles.append({"name": "error", "image": image(ERRORS(scale.shade(panel.error))), "lines": ""})
    return {
        "level": panel.level,
        "tiles": tiles,
        "height": panel.region.height,
        "note": f"from {_short(panel.low)} to {_short(panel.high)}, test R² {panel.r2:.4f}",
    }


def _tile(panel: Panel, values: np.ndarray, name: str) -> dict[str, str]:
    lines = [line for height in panel.heights for line in panel.region.contours(values, height)]
    return {"name": name, "image": image(HEIGHTS(panel.shade(values))), "lines": panel.region.path(lines)}


def _short(value: float) -> str:
    return numbers.plain(float(f"{value:.3g}"))


def _gradient(colors: Colormap) -> str:
    return ", ".join(to_hex(colors(k / (_STOPS - 1))) for k in range(_STOPS))
