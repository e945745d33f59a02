"""Whether runs that differ in their seed, or in their level, have found the same function."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.consistency.data import Alikeness, Errors, Seeds, errors_of, independent
from sharpscope.analysis.sections.consistency.figure import disagreement_figure, matrices_figure
from sharpscope.analysis.sections.consistency.table import csv, latex, table_of, tests_of
from sharpscope.analysis.statistics import Interval
from sharpscope.analysis.statistics.level_differences import smallest_order_p
from sharpscope.analysis.tested import ALPHA
from sharpscope.spec import changes_test_set


@SECTIONS.register(
    facts=SectionFacts(
        "Consistency",
        place=45,
        template=beside(__file__),
        nothing="No score of pairs of runs has a value, so nothing tells how alike their functions are.",
    )
)
def consistency(evidence: Evidence) -> Content:
    """How alike the functions of two runs are: within a level, across levels, and beside what their errors explain."""
    found = Alikeness(evidence.distinct)
    if not found.names:
        return Content()
    table, errors = table_of(found), errors_of(found)
    page = {
        "scores": [evidence.results.quantities[name] for name in found.names],
        "rows": _rows(found),
        "seeds": len(found.values.seeds),
        "gains": found.has_gains,
        "matrices": _matrices(found) if found.has_across else [],
        "other_data": changes_test_set(evidence.results.factor.name),
        "tests": _tests(found),
        "below": evidence.results.quantities.get(found.below or ""),
        "above": evidence.results.quantities.get(found.above or ""),
        "plot": _plot(found, errors) if errors else None,
    }
    return Content(
        page,
        figures={
            "consistency": partial(matrices_figure, found),
            "disagreement": partial(disagreement_figure, found, errors),
        },
        tables={
            "consistency.csv": csv(table),
            "consistency.tex": latex(found, table),
            "consistency_tests.csv": csv(tests_of(found)),
        },
    )


def _rows(found: Alikeness) -> list[dict[str, Any]]:
    """Return the scores of each level over its seeds, and what an ensemble of its seeds gains."""
    rows = []
    for k, level in enumerate(found.values.levels):
        cells = [_text(found.within(name, k)) for name in found.names]
        if found.has_gains:
            variance, seeds = found.within("brier_variance", k), len(found.values.seeds)
            gain = [(seeds - 1) / seeds * end for end in (variance.value, variance.low, variance.high)]
            cells.append(numbers.with_interval(*gain))
        rows.append({"level": level, "cells": cells})
    return rows


def _tests(found: Alikeness) -> list[dict[str, str]]:
    """Return of each score what permutations of the levels say; nothing where they can say nothing."""
    noun, rows = found.results.factor.noun, []
    able = smallest_order_p(len(found.values.levels), len(found.values.seeds)) <= ALPHA
    for name, own, differ in found.tests:
        if math.isnan(own.p):
            continue
        quantity = found.results.quantities[name]
        decimals = numbers.decimals_of(own.other, *sorted((own.own, own.other)))
        same = (
            f"no more alike than those of different {noun}s, as far as can be seen" if able else "too few seeds to tell"
        )
        says = f"more alike than those of different {noun}s" if own.p <= ALPHA else same
        rows.append(
            {
                "label": quantity.label,
                "own": numbers.fixed(own.own, decimals),
                "other": numbers.fixed(own.other, decimals),
                "p": numbers.p_value(own.p),
                "says": says,
                "p_levels": numbers.MISSING if math.isnan(differ.p) else numbers.p_value(differ.p),
            }
        )
    return rows


def _text(one: Interval) -> str:
    return numbers.with_interval(one.value, one.low, one.high)


def _matrices(found: Alikeness) -> list[dict[str, Any]]:
    levels = range(len(found.values.levels))
    most = {name: _greatest(found, name) for name in (found.below, found.above) if name}
    seeds: Seeds
    listed = []
    for seeds, title in (("same", "The same seed"), ("other", "Other seeds")):
        rows = []
        for a in levels:
            cells = []
            for b in levels:
                names = [found.below, found.above] if a == b else [found.below if a > b else found.above]
                cells.append(_cell(found, {name: most[name] for name in names if name}, a, b, seeds))
            rows.append({"level": found.values.levels[a], "cells": cells})
        listed.append({"title": title, "rows": rows})
    return listed


def _cell(found: Alikeness, most: dict[str, float], a: int, b: int, seeds: Seeds) -> dict[str, Any]:
    """Return a cell of a matrix with the scores in it, whose greatest values are given; one alone has a color."""
    names = list(most)
    ones = [found.within(name, a) if a == b else found.across(name, a, b, seeds) for name in names]
    parts = [numbers.estimate(one.value, one.low, one.high) for one in ones]
    strength = 0.0
    if a != b and names and ones[0].value > 0:
        strength = round(ones[0].value / most[names[0]], 2)
    labels = [found.results.quantities[name].label for name in names]
    return {
        "parts": parts,
        "sign": "" if a == b else "positive" if names == [found.below] else "negative",
        "strength": strength,
        "interval": "; ".join(f"{label} {_text(one)}" for label, one in zip(labels, ones, strict=True)),
        "tip": [
            [f"{found.values.levels[a]} and {found.values.levels[b]}", "within" if a == b else f"{seeds} seed"],
            *([label, _text(one)] for label, one in zip(labels, ones, strict=True)),
        ],
    }


def _greatest(found: Alikeness, name: str) -> float:
    levels = range(len(found.values.levels))
    both: tuple[Seeds, ...] = ("same", "other")
    values = [found.across(name, a, b, seeds).value for a in levels for b in levels if a < b for seeds in both]
    return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0


def _plot(found: Alikeness, listed: list[Errors]) -> dict[str, Any]:
    """Return disagreement against error in the hundredths of its drawing, from the upper left corner."""
    styles = styles_of(found.results.factor)
    error = np.concatenate([one.error for one in listed])
    reach = (max(error.max() - error.min(), 1e-3)) * 0.08
    across = Scale(max(float(error.min()) - reach, 0.0), min(float(error.max()) + reach, 1.0), logarithmic=False)
    course = np.linspace(across.low, across.high, 40)
    low, high = independent(course)
    up = Scale(0.0, max(float(high.max()), *(float(one.disagreement.max()) for one in listed)), logarithmic=False)

    def place(x: float, y: float) -> tuple[float, float]:
        return across.at(x), round(100 - up.at(y), 2)

    def path(values: np.ndarray) -> list[str]:
        return [f"{x:g},{y:g}" for x, y in (place(e, v) for e, v in zip(course, values, strict=True))]

    levels = [
        {
            "level": one.level,
            "color": styles[one.level].color,
            "dots": [place(e, d) for e, d in zip(one.error, one.disagreement, strict=True)],
            "told": f"{one.level}: {len(one.error)} pairs, mean error {one.error.mean():.3f}, mean disagreement "
            f"{one.disagreement.mean():.3f}, of independent errors {independent(one.error)[0].mean():.3f} to "
            f"{independent(one.error)[1].mean():.3f}",
            "cells": [
                *(f"{v.mean():.3f}" for v in (one.error, one.disagreement)),
                " to ".join(f"{v.mean():.3f}" for v in independent(one.error)),
            ],
        }
        for one in listed
    ]
    ticks = [(round(100 - at, 2), text) for at, text in up.ticks()]
    return {
        "levels": levels,
        "band": " ".join([*path(low), *reversed(path(high))]),
        "across": across.ticks(),
        "up": ticks,
    }
