"""Correlations of measures with outcomes."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.correlations.data import SYMBOLS, correlation_tables, every_relation
from sharpscope.analysis.sections.correlations.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Correlations, pooled and within levels",
        place=50,
        template=beside(__file__),
        nothing="No measure was taken, or nothing that it could go with.",
    )
)
def correlations(evidence: Evidence) -> Content:
    """Rank correlations of measures with outcomes: over all runs, within levels, between them and given the loss."""
    results, table = evidence.results, evidence.correlations
    tables = correlation_tables(results, table)
    return Content(
        {"tables": tables, "relations": every_relation(results, table), "symbols": SYMBOLS} if tables else None,
        tables={"correlations.csv": to_csv(table), "correlations.tex": latex(results, table)},
        title=f"Correlations, pooled and within {results.factor.noun}s",
    )
