"""What the study says of published claims."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.claims import judge, rows_of
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.claims.data import cards
from sharpscope.analysis.sections.claims.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Published claims",
        place=5,
        template=beside(__file__),
    )
)
def claims(evidence: Evidence) -> Content:
    """A verdict on each claim that the study names: at the end of training, at equal loss, at equal confidence."""
    results = evidence.results
    judged = judge(results)
    if not judged:
        return Content()
    tables = {"claims.csv": to_csv(pd.DataFrame(rows_of(judged))), "claims.tex": latex(results, judged)}
    return Content({"cards": cards(results, judged)}, tables=tables)
