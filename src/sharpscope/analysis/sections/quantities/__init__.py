"""What each quantity is."""

from __future__ import annotations

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "The quantities and their caveats",
        place=100,
        template=beside(__file__),
    )
)
def quantities(evidence: Evidence) -> Content:
    """What each quantity is, and what a reader must know before believing it."""
    return Content({})
