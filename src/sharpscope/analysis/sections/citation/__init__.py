"""How to cite."""

from __future__ import annotations

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "How to cite",
        place=110,
        template=beside(__file__),
    )
)
def citation(evidence: Evidence) -> Content:
    """What to cite."""
    return Content({"provenance": evidence.results.provenance})
