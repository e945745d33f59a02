"""What failed, and what is missing."""

from __future__ import annotations

from typing import Any

from sharpscope.analysis.results import StudyResults, TableRow, describe_group, records
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
            "failures": [_failure(results, row) for row in records(results.arranged(results.failures))],
            "missing": [{"what": what, "reason": why, "runs": len(rows)} for (what, why), rows in missing],
            "total": len(results.ledger),
        }
    )


def _failure(results: StudyResults, row: TableRow) -> dict[str, Any]:
    """Return a run that did not finish as the page tells it."""
    setting = describe_group({key: row[key] for key in results.keys})
    return {**row, "level": row[results.factor.name], "setting": setting}
