"""How to cite the paper whose protocol a study repeats."""

from __future__ import annotations

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "The paper that this study repeats",
        place=115,
        template=beside(__file__),
        usual=False,
    )
)
def paper_citation(evidence: Evidence) -> Content:
    """The paper that presets under ``paper/`` repeat."""
    return Content({})
