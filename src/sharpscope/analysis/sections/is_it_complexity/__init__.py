"""Is it complexity? What sharpness has to do with the complexity of the function beside the train loss."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.complexity import partial_table, variation_table
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.is_it_complexity.data import panels_of, share_blocks, verdicts
from sharpscope.analysis.sections.is_it_complexity.figure import dumbbells
from sharpscope.analysis.sections.is_it_complexity.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Is it complexity?",
        place=18,
        template=beside(__file__),
    )
)
def is_it_complexity(evidence: Evidence) -> Content:
    """How much of sharpness loss, complexity and levels explain, and each of the first two given the other."""
    results = evidence.results
    partials, shares = partial_table(results), variation_table(results)
    if shares.empty:
        return Content()
    return Content(
        {
            "verdicts": verdicts(results, shares),
            "panels": panels_of(results, partials),
            "blocks": share_blocks(results, shares),
        },
        figures={"is_it_complexity": partial(dumbbells, results, partials)},
        tables={
            "is_it_complexity.csv": to_csv(shares),
            "is_it_complexity_partial.csv": to_csv(partials),
            "is_it_complexity.tex": latex(results, shares),
        },
    )
