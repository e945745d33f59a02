"""What is watched along the training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.along_training.data import Line, Panel, StepAxis, panels_of
from sharpscope.analysis.sections.along_training.figure import courses

_HEIGHT = 66


@SECTIONS.register(facts=SectionFacts("Along the training", place=24, template=beside(__file__)))
def along_training(evidence: Evidence) -> Content:
    """Train loss and what a study watches, against the steps of training, by level of the factor."""
    results = evidence.results
    shown = panels_of(results)
    if not shown:
        return Content()
    return Content(_page(results, shown), figures={"along_training": partial(courses, results, shown)})


def _page(results: StudyResults, shown: list[Panel]) -> dict[str, Any]:
    steps = StepAxis.of(shown)
    sets: dict[str, list[dict[str, Any]]] = {}
    for panel in shown:
        sets.setdefault(describe_group(panel.group), []).append(_drawn(results, panel, steps))
    return {
        "sets": [{"title": title, "panels": panels} for title, panels in sets.items()],
        "height": _HEIGHT,
        "marks": [(steps.at(step), f"{step:,}") for step in steps.marks],
        "steps": [f"{step:,}" for step in steps.steps],
        "several": max(line.seeds for panel in shown for line in panel.lines) > 1,
    }


def _drawn(results: StudyResults, panel: Panel, steps: StepAxis) -> dict[str, Any]:
    scale, styles = panel.values, styles_of(results.factor)

    def up(value: float) -> float:
        return round(_HEIGHT * (1 - scale.at(value) / 100), 2)

    def path(line: Line, values: np.ndarray) -> list[tuple[float, float]]:
        return [(steps.at(step), up(value)) for step, value in zip(line.steps, values, strict=True)]

    lines = []
    for line in panel.lines:
        told = dict(zip(line.steps.tolist(), line.middle.tolist(), strict=True))
        middle = path(line, line.middle)
        lines.append(
            {
                "level": line.level,
                "color": styles[line.level].color,
                "band": _joined([*path(line, line.low), *reversed(path(line, line.high))]),
                "points": _joined(middle),
                "dots": [(*place, f"{value:.3g}") for place, value in zip(middle, line.middle, strict=True)],
                "cells": [numbers.plain(float(f"{told[step]:.3g}")) if step in told else "–" for step in steps.steps],
            }
        )
    ticks = [(round(_HEIGHT * (1 - at / 100), 2), text) for at, text in scale.ticks()]
    return {"label": panel.quantity.label, "logarithmic": scale.logarithmic, "lines": lines, "ticks": ticks}


def _joined(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
