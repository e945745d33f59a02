"""What failed, and what is missing."""

from __future__ import annotations

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "What failed",
        place=90,
        template=beside(__file__),
    )
)
def failures(evidence: Evidence) -> Content:
    """Runs that did not finish, and values that finished runs lack, with the reasons."""
    results = evidence.results
    missing = results.missing.groupby(["missing", "reason"], sort=False)
    return Content(
        {
            "failures": results.failures.astype(object).to_dict("records"),
            "missing": [{"what": what, "reason": why, "runs": len(rows)} for (what, why), rows in missing],
            "total": len(results.ledger),
        }
    )
