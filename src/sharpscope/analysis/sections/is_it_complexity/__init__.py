"""Is it complexity? What sharpness has to do with the complexity of the function beside the train loss."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.explanations.complexity import over_levels
from sharpscope.analysis.explanations.concluded import concluded
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.is_it_complexity.data import panels_of, share_blocks, share_panels, taken_out
from sharpscope.analysis.sections.is_it_complexity.figure import dumbbells, explained
from sharpscope.analysis.sections.is_it_complexity.table import latex
from sharpscope.analysis.sections.is_it_complexity.told import checks, verdicts


@SECTIONS.register(
    facts=SectionFacts(
        "Is it complexity?",
        place=18,
        template=beside(__file__),
    )
)
def is_it_complexity(evidence: Evidence) -> Content:
    """How much of sharpness loss, complexity and levels explain, and each of the first two given the other."""
    results, found = evidence.distinct, evidence.complexity
    if found.shares.empty:
        return Content()
    shares, partials = (concluded(results, found.moves, table) for table in (found.shares, found.partials))
    names = {"": found.shares, "_partial": found.partials, "_moves": found.moves}
    return Content(
        {
            "checks": checks(results, found.moves),
            "verdicts": verdicts(results, shares, partials),
            "panels": panels_of(results, partials),
            "over_levels": over_levels(results),
            "taken_out": taken_out(results, partials),
            "explained": share_panels(results, shares),
            "blocks": share_blocks(results, shares),
        },
        figures={
            "is_it_complexity": partial(dumbbells, results, partials),
            "is_it_complexity_shares": partial(explained, results, shares),
        },
        tables={
            **{f"is_it_complexity{name}.csv": to_csv(table) for name, table in names.items()},
            "is_it_complexity.tex": latex(results, shares),
        },
    )
