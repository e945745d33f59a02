"""What was run."""

from __future__ import annotations

from typing import Any

from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside


@SECTIONS.register(
    facts=SectionFacts(
        "What was run",
        place=80,
        template=beside(__file__),
    )
)
def settings(evidence: Evidence) -> Content:
    """The settings of the study, and how many runs ended how."""
    study, states = evidence.results.study, evidence.results.ledger["state"].value_counts()
    return Content(
        {
            "study": study,
            "regimes": [regime["label"] for regime in study["regimes"]],
            "grid": {key: _plain(value) for key, value in study.get("grid", {}).items()},
            "training": {key: _plain(value) for key, value in study.get("training", {}).items()},
            "counts": {state: int(states.get(state, 0)) for state in ("done", "failed", "diverged", "damaged")},
            "total": len(evidence.results.ledger),
        }
    )


def _plain(value: Any) -> str:
    """Return a setting as a reader would write it."""
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
