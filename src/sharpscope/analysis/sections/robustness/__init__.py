"""What is left of accuracies under corruption, and of models whose weights are altered."""

from __future__ import annotations

from functools import partial
from typing import Any

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.robustness.data import Accuracies, Course, courses
from sharpscope.analysis.sections.robustness.figure import heat_figure, severity_figure
from sharpscope.analysis.sections.robustness.heat import HeatMap, greatest, heat_maps, told_apart
from sharpscope.analysis.sections.robustness.summary import summaries
from sharpscope.analysis.sections.robustness.table import differences_csv, latex, severities_csv, summary_cells
from sharpscope.analysis.statistics import LEVEL, Interval


@SECTIONS.register(
    facts=SectionFacts(
        "Robustness",
        place=42,
        template=beside(__file__),
        nothing="No run has been tested under conditions, such as corruptions of the test set. A study that was run by "
        "an earlier version gets what is shown here when it is run again.",
    )
)
def robustness(evidence: Evidence) -> Content:
    """Accuracy by corruption and severity against the reference, and as inputs or weights are altered more and more."""
    results = evidence.results
    if not results.task.classes:
        return Content(nothing="Accuracies under conditions are of classifiers; this study predicts numbers.")
    found = Accuracies.of(results)
    if found is None:
        return Content()
    maps, falls = heat_maps(found), courses(found)
    told, effective = summaries(found)
    page = {
        "rows": summary_cells(found, told) if found.corruptions else [],
        "no_effective": effective.reason,
        "alike": sorted({name for one in told for name in one.alike}),
        "faultless": sorted({name for one in told for name in one.faultless}),
        "uncertain": sorted({name for one in told for name in one.uncertain}),
        "maps": [_map(results, one, greatest(maps)) for one in maps],
        "short": _short(maps),
        **_drawn(results, falls),
        "waiting": _waiting(results),
    }
    return Content(
        page,
        figures={"robustness": partial(heat_figure, maps), "severities": partial(severity_figure, results, falls)},
        tables={
            "robustness.csv": differences_csv(results, maps),
            "robustness.tex": latex(results, found, told),
            "severities.csv": severities_csv(results),
        },
    )


def plain_name(condition: str) -> str:
    """Return the name of a condition in words."""
    return condition.replace("_", " ")


def _waiting(results: StudyResults) -> int:
    """Return how many runs that are done have no results under conditions yet."""
    done = results.ledger.loc[results.ledger["state"] == "done", "run_id"]
    return int((~done.isin(results.conditions["run_id"])).sum())


def _short(maps: list[HeatMap]) -> str:
    """Return what level the intervals of few seeds reach, in percent; empty where it is that which is asked for."""
    reached = [cell.level for one in maps for cell in one.intervals]
    return f"{100 * max(reached):.0f}" if reached and max(reached) < LEVEL - 1e-9 else ""


def _map(results: StudyResults, one: HeatMap, most: float) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(one.corruptions):
        family = one.families[index]
        cells = [
            _cell(cell, f"{plain_name(name)}, severity {severity}", most)
            for cell, severity in zip(one.cells[index], one.severities, strict=True)
        ]
        new = not index or one.families[index - 1] != family
        rows.append(
            {"name": plain_name(name), "family": family if new else "", "like": one.alike[index], "cells": cells}
        )
    return {"level": one.level, "told": results.factor.told(one.level), "severities": one.severities, "rows": rows}


# The strength of the faintest color: it must be told from none.
_LEAST = 0.25


def _cell(cell: Interval | None, what: str, most: float) -> dict[str, Any]:
    if cell is None or not cell.n:
        return {
            "text": numbers.MISSING,
            "sign": "",
            "strength": 0,
            "tip": [[what, "no runs to compare"]],
            "interval": "",
        }
    points = [100 * value for value in (cell.value, cell.low, cell.high)]
    apart = told_apart(cell)
    interval = f"[{numbers.fixed(points[1], 1, sign=True)}, {numbers.fixed(points[2], 1, sign=True)}]"
    return {
        "text": numbers.fixed(points[0], 1, sign=True),
        "sign": ("positive" if cell.value > 0 else "negative") if apart else "",
        "strength": round(_LEAST + (1 - _LEAST) * abs(cell.value) / most, 2) if apart else 0,
        "interval": interval,
        "tip": [
            [what, f"{numbers.fixed(points[0], 1, sign=True)} percentage points"],
            [f"{numbers.percent(cell.level)} interval", interval],
            ["seeds", str(cell.n)],
        ],
    }


_WIDTH, _HEIGHT = 100.0, 62.0


def _drawn(results: StudyResults, falls: list[Course]) -> dict[str, Any]:
    """Return the courses in the hundredths of their drawings, from the upper left corner."""
    styles = styles_of(results.factor)
    ends = [v for fall in falls for line in fall.lines for p in line.points for v in (p.value, p.low) if v == v]
    foot = max(int(10 * min(ends, default=0.0)) / 10, 0.0)

    def up(value: float) -> float:
        return round(_HEIGHT * (1 - (max(value, foot) - foot) / (1 - foot)), 2) if foot < 1 else 0.0

    panels = []
    for fall in falls:
        labels = ["clean", *map(str, fall.severities)]
        at = [round(_WIDTH * i / (len(labels) - 1), 2) for i in range(len(labels))]
        lines = []
        for line in fall.lines:
            there = [(x, point, label) for x, point, label in zip(at, line.points, labels, strict=True) if point.n]
            ranged = [(x, point) for x, point, _ in there if point.n > 1]
            lines.append(
                {
                    "level": line.level,
                    "color": styles[line.level].color,
                    "points": " ".join(f"{x:g},{up(point.value):g}" for x, point, _ in there),
                    "band": " ".join(
                        [f"{x:g},{up(p.low):g}" for x, p in ranged]
                        + [f"{x:g},{up(p.high):g}" for x, p in reversed(ranged)]
                    ),
                    "dots": [(x, up(p.value), f"{line.level}, {label}: {_percent(p)}") for x, p, label in there],
                    "cells": [_percent(point) for point in line.points],
                }
            )
        family = plain_name(fall.family)
        panels.append(
            {"family": family, "kind": fall.kind, "labels": list(zip(at, labels, strict=True)), "lines": lines}
        )
    ticks = [(up(value), f"{100 * value:.3g}") for value in (foot, (foot + 1) / 2, 1.0)]
    return {"panels": panels, "ticks": ticks, "height": _HEIGHT}


def _percent(found: Interval) -> str:
    return numbers.with_interval(*(100 * value for value in (found.value, found.low, found.high)))
