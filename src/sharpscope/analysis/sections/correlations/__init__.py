"""Correlations of measures with outcomes."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.rankings import rankings_table
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.correlations.data import SYMBOLS, correlation_tables, every_relation, ranking_rows
from sharpscope.analysis.sections.correlations.table import latex
from sharpscope.analysis.wording import cells_told


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
    results, table = evidence.distinct, evidence.correlations
    tables, rankings = correlation_tables(results, table), rankings_table(results)
    page = {
        "tables": tables,
        "relations": every_relation(results, table),
        "symbols": SYMBOLS,
        "rankings": ranking_rows(results, rankings),
        "levels": len(results.levels),
        "cells": cells_told(results),
        "gap": results.quantities[results.task.gap].label if len(rankings) else "",
    }
    return Content(
        page if tables else None,
        tables={
            "correlations.csv": to_csv(table),
            "correlations.tex": latex(results, table),
            "rankings.csv": to_csv(rankings),
        },
        title=f"Correlations, pooled and within {results.factor.noun}s",
    )
