"""Measures against what comes with them, a point a run."""

from __future__ import annotations

from sharpscope.analysis.results import describe_group
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.scatter.data import scatter_data
from sharpscope.analysis.sections.scatter.figure import drawings


@SECTIONS.register(
    facts=SectionFacts(
        "Sharpness and what comes with it",
        place=30,
        template=beside(__file__),
        nothing="No measure was taken, or nothing to set one against.",
    )
)
def scatter(evidence: Evidence) -> Content:
    """Every measure against losses and scores, a point a run; interactive on the page."""
    results = evidence.results
    plots = scatter_data(results, evidence.correlations)
    settings = [describe_group(group) for group, _ in results.groups]
    page = {"scatter": plots, "settings": settings} if plots["x"] and plots["y"] else None
    return Content(page, figures=drawings(results), interactive=page is not None)
