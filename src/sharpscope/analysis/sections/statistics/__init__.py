"""The tests: their families, and every comparison."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.statistics.data import all_comparisons, family_table
from sharpscope.analysis.sections.statistics.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Statistics",
        place=60,
        template=beside(__file__),
    )
)
def statistics(evidence: Evidence) -> Content:
    """The families of tests, what each could find, and every comparison."""
    results, table = evidence.results, evidence.comparisons
    return Content(
        {
            "families": family_table(results, table),
            "comparisons": all_comparisons(results, table),
            # Initial weights are drawn for the model and the shape of the data.
            "same_start": not results.factor.name.startswith(("model.", "data.")),
        },
        tables={"comparisons.csv": to_csv(table), "comparisons.tex": latex(results, table)},
    )
