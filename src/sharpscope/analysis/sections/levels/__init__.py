"""Every quantity at every level of the factor."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.levels.data import level_tables
from sharpscope.analysis.sections.levels.figure import forest
from sharpscope.analysis.sections.levels.table import latex
from sharpscope.spec import REGIME


@SECTIONS.register(
    facts=SectionFacts(
        "Levels",
        place=10,
        template=beside(__file__),
        nothing="No run has finished, so there are no means.",
    )
)
def levels(evidence: Evidence) -> Content:
    """The mean of every quantity at every level of the factor, and which differ from the reference."""
    results, means, tests = evidence.results, evidence.levels, evidence.comparisons
    page = {
        "tables": level_tables(results, means, tests),
        "unconverged": any(results.unconverged(name).any() for name in results.measured),
    }
    return Content(
        page if results.measured else None,
        figures={"levels": partial(forest, results, means)},
        tables={"levels.csv": to_csv(means), "levels.tex": latex(results, means, tests)},
        title="Regimes" if results.factor.name == REGIME else f"Levels of {results.factor.name}",
    )
