"""How to reproduce."""

from __future__ import annotations

import yaml

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "How to reproduce",
        place=120,
        template=beside(__file__),
    )
)
def reproduction(evidence: Evidence) -> Content:
    """The command, the study and the versions that gave these results."""
    results = evidence.results
    text = yaml.safe_dump(results.study, sort_keys=False, allow_unicode=True)
    return Content({"yaml": text, "provenance": results.provenance})
