"""Scores of pairs, summarized by cell, as LaTeX."""

from __future__ import annotations

from sharpscope.analysis import numbers
from sharpscope.analysis.latex import booktabs, escape, group_cells, name_of
from sharpscope.analysis.results import StudyResults, split


def latex(results: StudyResults) -> bytes:
    """Return the scores of pairs summarized by cell: how many pairs, their mean and range."""
    keys, factor = results.keys, results.factor
    rows = []
    for name in results.of_pairs:
        for cell, part in split(results.pairs_compared.dropna(subset=[name]), [*keys, factor.name]):
            values = part[name]
            decimals = numbers.decimals_of(values.mean(), values.min(), values.max()) + 1
            shown = [numbers.fixed(v, decimals) for v in (values.mean(), values.min(), values.max())]
            labels = [*group_cells({key: cell[key] for key in keys}), escape(cell[factor.name])]
            rows.append([*labels, name_of(results.quantities[name]), str(len(part)), *map(escape, shown)])
    header = [*map(escape, keys), escape(factor.title), "Score", "Pairs", "Mean", "Min", "Max"]
    return booktabs(header, rows, left=len(keys) + 2, title="Scores of pairs; each unordered pair of seeds once.")
