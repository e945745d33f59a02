"""Dose and response: how quantities move along a factor whose levels have an order."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.dose import axis_of
from sharpscope.analysis.dose.bookkeeping import bookkeeping_table, shares_table
from sharpscope.analysis.dose.told import sentences, verdicts
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.dose_response.figure import against_loss, courses, heat_strip, slope_plot
from sharpscope.analysis.sections.dose_response.given import given_loss
from sharpscope.analysis.sections.dose_response.page import page_of
from sharpscope.analysis.sections.dose_response.table import latex


@SECTIONS.register(facts=SectionFacts("Dose and response", place=6, template=beside(__file__)))
def dose_response(evidence: Evidence) -> Content:
    """How quantities move along levels that have an order: size, trend, shape, and what is left at equal loss."""
    results, axis = evidence.results, axis_of(evidence.results)
    table = evidence.dose
    if axis is None or table.empty:
        return Content()
    parts, shares = bookkeeping_table(results), shares_table(results)
    return Content(
        {
            **page_of(results, axis, table),
            "given_loss": given_loss(axis, table),
            "sentences": sentences(results, table, parts),
            "verdicts": verdicts(results, shares),
        },
        figures={
            "dose_response": partial(courses, results, axis),
            "dose_slopes": partial(slope_plot, results, table),
            "dose_loss": partial(against_loss, results, axis),
            "dose_trends": partial(heat_strip, results, table),
        },
        tables={
            "dose_response.csv": to_csv(table),
            "dose_bookkeeping.csv": to_csv(parts),
            "dose_shares.csv": to_csv(shares),
            "dose_response.tex": latex(results, table),
        },
    )
