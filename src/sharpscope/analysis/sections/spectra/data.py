"""The share of eigenvalues that lie beyond each size, by the densities that runs have stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.results import StudyResults

_POINTS = 120
_DECADES = 6.0  # below the largest eigenvalue, where the quadrature tells nothing
_LEAST = 1e-9  # a share that is none but for rounding


@dataclass(frozen=True)
class Panel:
    """The eigenvalues of one sign of one matrix.

    Attributes:
        name: The density, a column.
        side: "positive" or "negative".
        sizes: Absolute values, from the smallest, shape ``[points]``.
        shares: By level and run, the share of all eigenvalues of that sign that are larger, ``[runs, points]`` each.
    """

    name: str
    side: str
    sizes: np.ndarray
    shares: dict[str, np.ndarray]

    @property
    def least(self) -> float:
        """The smallest share that is not nothing."""
        found = np.concatenate([shares.ravel() for shares in self.shares.values()])
        return float(found[found > _LEAST].min())

    def mean(self, level: str) -> np.ndarray:
        """Return the mean over the runs of a level, NaN where it is nothing: that has no place on a log axis."""
        found = self.shares[level].mean(axis=0)
        return np.where(found > _LEAST, found, np.nan)


def panels_of(results: StudyResults) -> list[Panel]:
    """Return the panels of a study: of each density one for positive eigenvalues, and one for negative if there are."""
    return [panel for name in results.measures() for panel in _of_density(results, name)]


def _of_density(results: StudyResults, name: str) -> Iterator[Panel]:
    stored = {run: found for run, found in results.details(name).items() if {"nodes", "weights"} <= found.keys()}
    level_of = dict(zip(results.runs["run_id"], results.runs[results.factor.name], strict=True))
    runs = {run: _points(found) for run, found in stored.items() if run in level_of}
    if not runs:
        return
    for side, sign in (("positive", 1), ("negative", -1)):
        largest = max(float((sign * nodes).max()) for nodes, _ in runs.values())
        if largest <= 0 or not any((weights[sign * nodes > 0]).sum() > _LEAST for nodes, weights in runs.values()):
            continue
        sizes = largest * np.logspace(-_DECADES, 0, _POINTS)
        found: dict[str, list[np.ndarray]] = {}
        for run, (nodes, weights) in runs.items():
            beyond = sign * nodes >= sizes[:, None]
            found.setdefault(level_of[run], []).append((beyond * weights).sum(axis=1))
        shares = {level: np.stack(found[level]) for level in results.levels if level in found}
        yield Panel(name, side, sizes, shares)


def _points(details: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues that a density has, and the share of each, of all random starts together."""
    nodes, weights = (np.asarray(details[part], dtype=np.float64) for part in ("nodes", "weights"))
    return nodes.ravel(), weights.ravel() / len(weights)


def table_of(results: StudyResults, panels: list[Panel]) -> pd.DataFrame:
    """Return one row a density, side, level and size: the mean share of eigenvalues that are larger."""
    rows = [
        {"measure": panel.name, "side": panel.side, results.factor.name: level, "size": size, "share": share}
        for panel in panels
        for level, shares in panel.shares.items()
        for size, share in zip(panel.sizes, shares.mean(axis=0), strict=True)
    ]
    return pd.DataFrame(rows)


def panels_shown(results: StudyResults, panels: list[Panel]) -> list[dict[str, Any]]:
    """Return what the page draws of each panel, in hundredths of its sides, from its upper left corner."""
    styles, drawn = styles_of(results.factor), []
    for panel in panels:
        across = Scale(float(panel.sizes[0]), float(panel.sizes[-1]), logarithmic=True)
        up = Scale(panel.least, 1.0, logarithmic=True)
        lines = []
        for level in panel.shares:
            known = [(x, y) for x, y in zip(panel.sizes.tolist(), panel.mean(level).tolist(), strict=True) if y == y]
            points = " ".join(f"{across.at(x):g},{100 - up.at(max(y, panel.least)):g}" for x, y in known)
            lines.append({"level": level, "color": styles[level].color, "points": points})
        drawn.append(
            {
                "title": results.quantities[panel.name].label,
                "side": panel.side,
                "lines": lines,
                "across": across.ticks(),
                "up": [(round(100 - at, 2), text) for at, text in up.ticks()],
            }
        )
    return drawn
