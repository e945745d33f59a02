"""The correlations as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.correlations import POOLED, WITHIN
from sharpscope.analysis.latex import booktabs, escape, name_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.correlations.data import four_columns, pairs_of


def latex(results: StudyResults, correlations: pd.DataFrame) -> bytes:
    """Return Spearman correlations in four columns, with what a reader must know of the pooled one."""
    rows = []
    for pair, scopes in pairs_of(correlations):
        names = [name_of(results.quantities[name]) for name in pair]
        counts = [str(scopes[POOLED]["n"]), str(scopes[WITHIN]["cells"])]
        rows.append([*names, str(scopes[POOLED]["flag"]), *counts, *map(escape, four_columns(scopes).values())])
    noun = results.factor.noun
    header = ["Measure", "Quantity", "Flag", "$n$", "Cells", r"$\rho$ pooled", rf"$\rho$ within {noun}s"]
    header += [rf"$\rho$ between {noun}s", r"$\rho$ within, given loss"]
    title = (
        "Spearman correlations over runs; 95% intervals resample seeds, and that of the pooled one is conditional on "
        f"these {len(results.levels)} {noun}s."
    )
    return booktabs(header, rows, left=3, title=title)
