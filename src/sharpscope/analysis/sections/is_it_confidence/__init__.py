"""Is it confidence? Differences in sharpness and scores beside what is left of them on twins of equal confidence."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.is_it_confidence.data import notes_of, rows_of, twins_of
from sharpscope.analysis.sections.is_it_confidence.figure import shares
from sharpscope.analysis.sections.is_it_confidence.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Is it confidence?",
        place=17,
        template=beside(__file__),
        nothing=(
            "The models have no twins of another confidence. A study that asks for them, by "
            "<code>twins: [calibrated, matched_confidence]</code>, tells here whether differences in sharpness and "
            "calibration are there when all networks are as sure as one another."
        ),
    )
)
def is_it_confidence(evidence: Evidence) -> Content:
    """What is left of differences in sharpness and scores where all networks are as sure as one another."""
    results, table = evidence.results, evidence.equal_confidence
    if not results.task.classes:
        return Content(nothing="Predicted numbers come with no confidence, so that no difference is one of it.")
    if table.empty:
        return Content()
    return Content(
        {"rows": rows_of(results, table), "twins": twins_of(table), "unlike": notes_of(results, table)},
        figures={"is_it_confidence": partial(shares, results, table)},
        tables={"is_it_confidence.csv": to_csv(table), "is_it_confidence.tex": latex(results, table)},
    )
