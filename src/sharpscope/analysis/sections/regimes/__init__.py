"""Every quantity in every regime."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.regimes.data import regime_tables
from sharpscope.analysis.sections.regimes.figure import forest
from sharpscope.analysis.sections.regimes.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Regimes",
        place=10,
        template=beside(__file__),
        nothing="No run has finished, so there are no means.",
    )
)
def regimes(evidence: Evidence) -> Content:
    """The mean of every quantity in every regime, and which differ from the reference."""
    results, means, tests = evidence.results, evidence.regimes, evidence.comparisons
    page = {
        "tables": regime_tables(results, means, tests),
        "unconverged": any(results.unconverged(name).any() for name in results.measured),
    }
    return Content(
        page if results.measured else None,
        figures={"regimes": partial(forest, results, means)},
        tables={"regimes.csv": to_csv(means), "regimes.tex": latex(results, means, tests)},
    )
