"""How the eigenvalues of curvature matrices are spread, of studies that measured it."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.spectra.data import panels_of, panels_shown, table_of
from sharpscope.analysis.sections.spectra.figure import courses


@SECTIONS.register(facts=SectionFacts("Spectra", place=35, template=beside(__file__)))
def spectra(evidence: Evidence) -> Content:
    """The share of eigenvalues beyond each size, of every spectral density that a study measured."""
    panels = panels_of(evidence.results)
    if not panels:
        return Content()
    return Content(
        {"panels": panels_shown(evidence.results, panels)},
        figures={"spectra": partial(courses, evidence.results, panels)},
        tables={"spectra.csv": to_csv(table_of(evidence.results, panels))},
    )
