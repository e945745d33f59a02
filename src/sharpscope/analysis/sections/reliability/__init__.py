"""Accuracy against confidence."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.reliability.data import bin_count, panel_sets
from sharpscope.analysis.sections.reliability.figure import diagrams


@SECTIONS.register(
    facts=SectionFacts(
        "Reliability",
        place=40,
        template=beside(__file__),
        nothing="No predictions are stored, so accuracy cannot be set against confidence.",
    )
)
def reliability(evidence: Evidence) -> Content:
    """Reliability diagrams, the runs of a level put together."""
    results = evidence.results
    if not results.task.classes:
        return Content(nothing="Predicted numbers come with no confidence, so there is none to judge.")
    sets = panel_sets(results)
    page = {"sets": sets, "bins": bin_count(results.reliability)} if sets else None
    return Content(page, figures={"reliability": partial(diagrams, results)})
