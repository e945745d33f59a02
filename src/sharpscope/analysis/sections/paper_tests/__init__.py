"""The tests of the paper whose protocol a study repeats."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.paper_tests.data import paper_tests_table, shown_tests
from sharpscope.analysis.sections.paper_tests.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "The paper’s tests",
        place=65,
        template=beside(__file__),
        nothing="Nothing is compared by a quantity that the paper tests.",
        usual=False,
    )
)
def paper_tests(evidence: Evidence) -> Content:
    """The one-sided tests of arXiv 2510.12451 with their corrections, beside those of this report."""
    results = evidence.results
    table = paper_tests_table(results)
    tests = shown_tests(results, table, evidence.comparisons)
    return Content(
        {"tests": tests} if tests else None,
        tables={"paper_tests.csv": to_csv(table), "paper_tests.tex": latex(results, table)},
    )
