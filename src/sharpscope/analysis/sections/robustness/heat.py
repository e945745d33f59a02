"""Heat maps of corruptions by severities: how far each level is above the reference in each case."""

from __future__ import annotations

from dataclasses import dataclass

from sharpscope.analysis.sections.robustness.data import Accuracies
from sharpscope.analysis.statistics import Interval


@dataclass(frozen=True)
class HeatMap:
    """The differences of a level to the reference.

    Attributes:
        level: The level.
        corruptions: Its rows; those of one family lie together.
        families: The family of each.
        alike: Which of them are like what the level, or the reference, was trained on.
        severities: Its columns, from slight to severe.
        cells: The difference in each row and column; None where a corruption has no such severity.
    """

    level: str
    corruptions: list[str]
    families: list[str]
    alike: list[bool]
    severities: list[int]
    cells: list[list[Interval | None]]

    @property
    def intervals(self) -> list[Interval]:
        """All cells that there are."""
        return [cell for row in self.cells for cell in row if cell is not None]


def heat_maps(found: Accuracies) -> list[HeatMap]:
    """Return a heat map of each level but the reference; none where the reference or corruptions are lacking."""
    if found.reference is None or not found.corruptions:
        return []
    names = sorted(found.corruptions, key=lambda name: (found.family(name), name))
    severities = sorted({found.cases[place].severity for places in found.corruptions.values() for place in places})
    maps = []
    for k, level in enumerate(found.values.levels):
        if k == found.reference:
            continue
        cells = []
        for name in names:
            places = {found.cases[place].severity: place for place in found.corruptions[name]}
            cells.append([found.difference(k, places[s]) if s in places else None for s in severities])
        alike = found.alike(k)
        families = [found.family(name) for name in names]
        maps.append(HeatMap(level, names, families, [name in alike for name in names], severities, cells))
    return maps


def told_apart(cell: Interval) -> bool:
    """Return whether the interval of a difference does not hold 0; one of a single seed tells nothing."""
    return cell.low > 0 or cell.high < 0


def greatest(maps: list[HeatMap]) -> float:
    """Return the greatest difference that is told apart from 0, which has the full color; 0 where none is."""
    return max((abs(cell.value) for one in maps for cell in one.intervals if told_apart(cell)), default=0.0)
