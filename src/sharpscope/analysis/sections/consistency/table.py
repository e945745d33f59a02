"""Scores of pairs by the levels of both runs, as tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, name_of, to_csv
from sharpscope.analysis.results import records
from sharpscope.analysis.sections.consistency.data import Alikeness, Seeds
from sharpscope.analysis.statistics import Interval

_BOTH: tuple[Seeds, ...] = ("same", "other")
_COLUMNS = ["quantity", "level_a", "level_b", "seeds", "n", "mean", "ci_low", "ci_high"]


def table_of(found: Alikeness) -> pd.DataFrame:
    """Return a row a score, two levels, and whether seeds are the ``same`` or ``other`` ones, as within a level."""
    rows = [
        dict(zip(_COLUMNS, (name, a, b, seeds, one.n, one.value, one.low, one.high), strict=True))
        for name in found.names
        for a, b, seeds, one in _means(found, name)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _means(found: Alikeness, name: str) -> Iterator[tuple[str, str, str, Interval]]:
    levels = found.values.levels
    for a, first in enumerate(levels):
        yield first, first, "other", found.within(name, a)
        for b in range(a + 1, len(levels)) if found.has_across else ():
            for seeds in _BOTH:
                yield first, levels[b], seeds, found.across(name, a, b, seeds)


def tests_of(found: Alikeness) -> pd.DataFrame:
    """Return a row a score: whether runs of one level are more alike than chance, and which levels are is no chance.

    ``own`` and ``other`` are the means of pairs of one level and of two, with other seeds, and ``p_own`` tells the
    former from chance; ``p_levels`` is whether it matters which two levels are compared, of runs with the same seed.
    """
    rows = [(name, own.pairs, own.own, own.other, own.p, differ.pairs, differ.p) for name, own, differ in found.tests]
    columns = ["quantity", "pairs_of_seeds", "own", "other", "p_own", "seeds", "p_levels"]
    return pd.DataFrame(rows, columns=columns)


def csv(table: pd.DataFrame) -> bytes:
    """Return the table with every digit."""
    return to_csv(table)


def latex(found: Alikeness, table: pd.DataFrame) -> bytes:
    """Return the table for a paper."""
    rows = [
        [
            *(name_of(found.results.quantities[row["quantity"]]), *map(escape, (row["level_a"], row["level_b"]))),
            *(row["seeds"], escape(numbers.with_interval(row["mean"], row["ci_low"], row["ci_high"]))),
        ]
        for row in records(table.dropna(subset=["mean"]))
    ]
    header = ["Score", "One run", "The other", "Seeds", "Mean"]
    title = "Scores of pairs of runs by their levels and whether their seeds are the same; 95% intervals over seeds."
    return booktabs(header, rows, left=4, title=title)
