"""Scores of pairs of runs."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.results import PAIR_COLUMNS
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts
from sharpscope.analysis.sections.pairs.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Pairs of runs",
        place=70,
    )
)
def pairs(evidence: Evidence) -> Content:
    """Scores of pairs of seeds, as tables."""
    results = evidence.results
    pairs = results.pairs
    if pairs.empty:
        pairs = pd.DataFrame(columns=list(dict.fromkeys([*pairs.columns, *PAIR_COLUMNS])))
    return Content(tables={"pairs.csv": to_csv(pairs), "pairs.tex": latex(results)})
