"""Verdicts on published claims as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable

from sharpscope.analysis.latex import booktabs, escape, name_of
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.claims.data import text_of
from sharpscope.analysis.verdicts import CONDITIONS, Judged


def latex(results: StudyResults, judged: Iterable[Judged]) -> bytes:
    """Return every test of every claim with its verdict."""
    rows = [
        [
            escape(one.claim.title),
            name_of(results.quantities[test.quantity]),
            escape(test.told),
            *(escape(text_of(test.found[name])) if name in test.found else "" for name in CONDITIONS),
            escape(test.verdict),
        ]
        for one in judged
        for test in one.tests
    ]
    header = ["Claim", "Quantity", "Of what", *(f"At {told}" for told in CONDITIONS.values()), "Verdict"]
    title = "Published claims and what the study says of them, with 95% intervals."
    return booktabs(header, rows, left=3, title=title)
