"""Is it complexity? What sharpness has to do with the complexity of the function beside the train loss."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.complexity import asked, over_levels, partial_table, variation_table
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.manipulation import moves_table
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.is_it_complexity.data import panels_of, share_blocks, share_panels
from sharpscope.analysis.sections.is_it_complexity.figure import dumbbells, explained
from sharpscope.analysis.sections.is_it_complexity.table import latex
from sharpscope.analysis.sections.is_it_complexity.told import checks, concluded, verdicts


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
    every = {"is_it_complexity": variation_table(results), "is_it_complexity_partial": partial_table(results)}
    if every["is_it_complexity"].empty:
        return Content()
    moves = moves_table(results, asked(results)[1])
    shares, partials = (concluded(results, moves, table) for table in every.values())
    tables = {**every, "is_it_complexity_moves": moves}
    return Content(
        {
            "checks": checks(results, moves),
            "verdicts": verdicts(results, shares, partials),
            "panels": panels_of(results, partials),
            "over_levels": over_levels(results),
            "explained": share_panels(results, shares),
            "blocks": share_blocks(results, shares),
        },
        figures={
            "is_it_complexity": partial(dumbbells, results, partials),
            "is_it_complexity_shares": partial(explained, results, shares),
        },
        tables={
            **{f"{name}.csv": to_csv(table) for name, table in tables.items()},
            "is_it_complexity.tex": latex(results, shares),
        },
    )
