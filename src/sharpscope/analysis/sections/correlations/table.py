"""The correlations as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import POOLED, WITHIN
from sharpscope.analysis.latex import booktabs, escape, name_of
from sharpscope.analysis.results import StudyResults, by, split


def latex(results: StudyResults, correlations: pd.DataFrame) -> bytes:
    """Return Spearman correlations, pooled and within levels side by side."""
    rows = []
    for pair, part in split(correlations, ["measure", "quantity"]):
        pooled, within = (by(part, "scope")[scope] for scope in (POOLED, WITHIN))
        cells = [escape(numbers.correlation(r["spearman"], r["ci_low"], r["ci_high"])) for r in (pooled, within)]
        names = [name_of(results.quantities[name]) for name in pair.values()]
        rows.append([*names, str(pooled["n"]), *cells])
    header = ["Measure", "Quantity", "$n$", r"$\rho$ pooled", rf"$\rho$ within {results.factor.noun}s"]
    return booktabs(header, rows, left=2, title="Spearman correlations over runs with 95% bootstrap intervals.")
