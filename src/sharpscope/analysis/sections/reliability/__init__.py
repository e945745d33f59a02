"""Accuracy against confidence."""

from __future__ import annotations

from functools import partial
from typing import Any

from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.reliability.data import Axis, Panel, accuracies, panels_of, waiting, without_twin
from sharpscope.analysis.sections.reliability.figure import diagrams


@SECTIONS.register(
    facts=SectionFacts(
        "Reliability",
        place=40,
        template=beside(__file__),
        nothing="No run has bins of confidence, so accuracy cannot be set against it. A study that was run by an "
        "earlier version gets them when it is run again.",
    )
)
def reliability(evidence: Evidence) -> Content:
    """Reliability diagrams: accuracy against confidence, a line a run, with the band of a calibrated model."""
    results = evidence.results
    if not results.task.classes:
        return Content(nothing="Predicted numbers come with no confidence, so there is none to judge.")
    shown = panels_of(results)
    if not shown:
        return Content()
    return Content(_page(results, shown), figures={"reliability": partial(diagrams, results, shown)})


def _page(results: StudyResults, shown: list[Panel]) -> dict[str, Any]:
    axis, foot = Axis.of(shown), accuracies(shown)
    sets: dict[str, list[dict[str, Any]]] = {}
    for panel in shown:
        drawn = _drawn(panel, axis, foot, styles_of(results.factor)[panel.level].color)
        sets.setdefault(describe_group(panel.group), []).append(drawn)
    diagonal = _path((at, _up(accuracy, foot)) for at, accuracy in axis.diagonal(foot))
    ticks = [(_up(value, foot), f"{value:.3g}") for value in (foot, (foot + 1) / 2, 1.0)]
    listed = [{"title": title, "panels": panels} for title, panels in sets.items()]
    common = {"diagonal": diagonal, "across": axis.ticks, "up": ticks, "spread": axis.spread}
    return {"sets": listed, **common, "waiting": waiting(results), "untwinned": without_twin(results)}


def _drawn(panel: Panel, axis: Axis, foot: float, color: str) -> dict[str, Any]:
    """Return a panel in the hundredths of its drawing, from its upper left corner."""
    bins = panel.bins
    at = [axis.at(confidence) for confidence in bins["confidence"]]
    low, high, middle = (
        [(x, _up(value, foot)) for x, value in zip(at, bins[name], strict=True)] for name in ("low", "high", "accuracy")
    )
    runs = [
        _path((axis.at(c), _up(a, foot)) for c, a in zip(run["confidence"], run["accuracy"], strict=True))
        for _, run in panel.runs.groupby("run_id", sort=False)
    ]
    tips = [
        f"{count:.0f} predictions, confidence {confidence:.4g}, accuracy {accuracy:.3f}, of a calibrated model "
        f"{least:.3f} to {most:.3f}"
        for count, confidence, accuracy, least, most in bins[
            ["count", "confidence", "accuracy", "low", "high"]
        ].to_numpy()
    ]
    width = 100 / len(panel.doubt)
    tallest = max(panel.doubt.max(), 1e-9)
    bars = [
        (round(100 - width * (k + 1), 2), round(width, 2), round(18 * share / tallest, 2))
        for k, share in enumerate(panel.doubt.tolist())
    ]
    return {
        "level": panel.level,
        "color": color,
        "told": panel.told,
        "band": _path([*low, *reversed(high)]),
        "runs": runs,
        "line": _path(middle),
        "dots": [(*place, tip) for place, tip in zip(middle, tips, strict=True)],
        "bars": bars,
    }


def _up(accuracy: float, foot: float) -> float:
    """Return where an accuracy lies, in hundredths from the top; what is below the foot lies there."""
    return round(100 * (1 - max(accuracy - foot, 0.0) / (1 - foot)), 2)


def _path(points: Any) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
