"""Where the levels of an ordered factor lie: the dose of each, and the scale on which doses are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics.trend import LEAST_LEVELS
from sharpscope.spec import BASELINE, REGIME, is_option, value_text
from sharpscope.spec.factor import arm_label
from sharpscope.spec.grid import OPTION, part_of

Spacing = Literal["equal differences", "equal ratios", "places"]
_LOG_FROM = 10.0  # doses that span less than this factor are compared by their differences
_NAMES: dict[Spacing, str] = {
    "equal differences": "{}",
    "equal ratios": "log10({})",
    "places": "place of {} in its order",
}


@dataclass(frozen=True)
class Axis:
    """The levels of an ordered factor that have runs, and where they lie.

    Attributes:
        name: The key whose values they are: ``data.factor``, ``regimes.sam.rho``.
        levels: The levels in their order.
        doses: The number of each level, shape ``[levels]``: 0 of a regime that lacks the part. NaN where levels are no
            numbers.
        spacing: How far levels are apart: by the differences of their doses, by the ratios, or a step each where they
            are no numbers.
    """

    name: str
    levels: tuple[str, ...]
    doses: np.ndarray
    spacing: Spacing

    @property
    def key(self) -> str:
        """The name in a sentence: "data.factor", "sam.rho"."""
        return self.name.removeprefix(OPTION)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The levels in a sentence or at a tick: their numbers, but the name of one that lacks the part."""
        numbered = np.isfinite(self.doses) & (self.doses != 0)
        return tuple(
            value_text(float(dose)) if number else level
            for level, dose, number in zip(self.levels, self.doses, numbered, strict=True)
        )

    def told(self, level: str) -> str:
        """Return a level in a sentence: "data.factor 0.5", "sam.rho 0.1", "no sam"."""
        label = self.labels[self.levels.index(level)]
        return label if is_name(label) and self.spacing != "places" else f"{self.key} {label}"

    @property
    def h(self) -> str:
        """The scale in words: "data.factor", "log10(regimes.sam.rho)"."""
        return _NAMES[self.spacing].format(self.name)

    @cached_property
    def positions(self) -> np.ndarray:
        """Where the levels lie, shape ``[levels]``; NaN for a dose of zero where ratios count, which lies nowhere."""
        if self.spacing == "places":
            return np.arange(len(self.levels), dtype=float)
        if self.spacing == "equal differences":
            return self.doses
        return np.log10(np.where(self.doses > 0, self.doses, np.nan))

    @property
    def on_line(self) -> np.ndarray:
        """Which levels have a position, and so take part in slopes, shape ``[levels]``."""
        return np.isfinite(self.positions)

    @cached_property
    def drawn(self) -> np.ndarray:
        """Where the levels are drawn, from 0 to 1, shape ``[levels]``; a zero without position is a tick of its own."""
        found, line = self.positions.copy(), self.positions[self.on_line]
        step = (line[-1] - line[0]) / max(len(line) - 1, 1)
        found[~self.on_line] = line[0] - max(step, 1e-12)
        return (found - found.min()) / (found.max() - found.min())

    def scaled(self, counted: np.ndarray) -> np.ndarray:
        """Return the positions of some levels from 0, the first of them, to 1, the last."""
        x = self.positions[counted]
        return (x - x[0]) / (x[-1] - x[0])


def is_name(label: str) -> bool:
    """Return whether a label of a level is no number."""
    try:
        float(label)
    except ValueError:
        return True
    return False


def axis_of(results: StudyResults) -> Axis | None:
    """Return the axis of a study whose compared levels have an order; None of others, or for fewer than three levels.

    Those are the values of a key with an order, and regimes that are all one part whose options differ in one number;
    the regime without parts is the dose zero there.
    """
    factor = results.factor
    named = _of_regimes(results.study) if factor.name == REGIME else _of_key(results)
    if named is None:
        return None
    name, doses = named
    present = [level for level in doses if level in results.levels]
    if len(present) < LEAST_LEVELS:
        return None
    found = np.array([doses[level] for level in present], dtype=float)
    if np.isfinite(found).all():
        order = np.argsort(found, kind="stable")
        axis = Axis(name, tuple(present[i] for i in order), found[order], _spacing(found[order]))
    else:
        axis = Axis(name, tuple(present), np.full(len(present), np.nan), "places")
    return axis if axis.on_line.sum() >= 2 else None


def _of_key(results: StudyResults) -> tuple[str, dict[str, float]] | None:
    """Return the key of an ordered factor and the doses of its levels, NaN where they are no numbers."""
    factor = results.factor
    if not factor.ordered:
        return None
    values = {value_text(value): value for value in results.study["grid"][factor.name]}
    ranked = sorted(factor.levels, key=factor.ranks.__getitem__)
    return factor.name, {level: _number(values.get(level, 0)) for level in ranked}


def _of_regimes(study: Mapping[str, Any]) -> tuple[str, dict[str, float]] | None:
    """Return the one option in which regimes differ, and the dose of each; None where there is no such option."""
    arms = dict(_arms(study))
    dosed = {label: parts for label, parts in arms.items() if parts}
    names = {part for parts in dosed.values() for part in parts}
    if len(names) != 1 or len(arms) - len(dosed) > 1:
        return None
    part = names.pop()
    options = [parts[part] for parts in dosed.values()]
    keys = {key for one in options for key in one}
    differ = [key for key in keys if len({value_text(one.get(key)) for one in options}) > 1]
    if len(differ) != 1:
        return None
    found = {label: _number(parts[part].get(differ[0])) if parts else 0.0 for label, parts in arms.items()}
    if not all(map(math.isfinite, found.values())) or len(set(found.values())) < len(found):
        return None
    return f"regimes.{part}.{differ[0]}", found


def _arms(study: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield each regime as the report names it, with its parts and their options, those of the grid among them."""
    grid = {key: values for key, values in study.get("grid", {}).items() if is_option(key) and isinstance(values, list)}
    for regime in study["regimes"]:
        parts = {name: dict(options) for name, options in regime.items() if name not in ("label", BASELINE)}
        own = {key: values for key, values in grid.items() if part_of(key) in parts}
        combinations: list[dict[str, Any]] = [{}]
        for key, values in own.items():
            combinations = [{**one, key: value} for one in combinations for value in values]
        for chosen in combinations:
            full = {name: dict(options) for name, options in parts.items()}
            for key, value in chosen.items():
                full[part_of(key)][key.split(".", 2)[2]] = value
            shown = {key: value for key, value in chosen.items() if len(own[key]) > 1}
            yield arm_label(str(regime["label"]), shown), full


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _spacing(doses: np.ndarray) -> Spacing:
    """Return the scale of doses in their order: that on which they are more evenly apart, if they span a decade.

    >>> _spacing(np.array([0.0, 0.1, 0.4, 0.7, 1.0])), _spacing(np.array([0.0025, 0.005, 0.05, 0.5]))
    ('equal differences', 'equal ratios')
    """
    positive = doses[doses > 0]
    if doses[0] < 0 or len(positive) < 2 or positive[-1] < _LOG_FROM * positive[0]:
        return "equal differences"
    steps, ratios = np.diff(positive), np.diff(np.log(positive))
    return "equal ratios" if ratios.std() / ratios.mean() < steps.std() / steps.mean() else "equal differences"
