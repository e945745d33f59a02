"""Decision boundaries in the plane."""

from __future__ import annotations

from functools import partial
from typing import Any

from sharpscope.analysis.drawing.plane import image
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.decision_boundary.data import Panel, class_color, panels_of
from sharpscope.analysis.sections.decision_boundary.figure import boundaries

# Training points from which on they are drawn smaller.
_MANY = 120


@SECTIONS.register(facts=SectionFacts("Decision boundaries", place=26, template=beside(__file__)))
def decision_boundary(evidence: Evidence) -> Content:
    """Which class is predicted where, with the training points, for inputs in the plane."""
    results = evidence.results
    shown = panels_of(results) if results.task.classes else []
    if not shown:
        return Content()
    return Content(_page(results, shown), figures={"decision_boundary": partial(boundaries, results, shown)})


def _page(results: StudyResults, shown: list[Panel]) -> dict[str, Any]:
    sets: dict[str, list[dict[str, Any]]] = {}
    for panel in shown:
        sets.setdefault(describe_group(panel.group), []).append(_drawn(results, panel))
    seeds = max(panel.seeds for panel in shown)
    return {
        "sets": [{"title": title, "panels": panels} for title, panels in sets.items()],
        "several": seeds > 1,
        "alike": all(panel.alike for panel in shown),
    }


def _drawn(results: StudyResults, panel: Panel) -> dict[str, Any]:
    places = panel.region.placed(panel.points)
    told = results.factor.told(panel.level)
    return {
        "level": panel.level,
        "height": panel.region.height,
        "image": image(panel.colors),
        "thin": panel.region.path(panel.of_seeds) if panel.seeds > 1 else "",
        "line": panel.region.path(panel.of_most),
        "radius": 1.5 if len(panel.labels) <= _MANY else 1.0,
        "dots": [
            (f"{x:.1f}", f"{y:.1f}", class_color(int(label)))
            for (x, y), label in zip(places, panel.labels, strict=True)
        ],
        "note": f"test accuracy {100 * panel.accuracy:.1f}%, {panel.seeds} seed{'s' if panel.seeds > 1 else ''}",
        "described": f"Decision boundary of {told} in the plane, with {len(panel.labels)} training points",
    }
