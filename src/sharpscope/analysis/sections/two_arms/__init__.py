"""Two arms: this study and another one of an ordered factor, against the same x."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sharpscope.analysis.dose.arms import arms_of, arms_table
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside, sections_of
from sharpscope.analysis.sections.two_arms.data import page_of
from sharpscope.analysis.sections.two_arms.figure import against_each_other


def set_beside(results: StudyResults, other: StudyResults) -> StudyResults:
    """Return a study that another one is set beside, whose report has this section whatever else it has."""
    named = sections_of(results.study)
    study = results.study if two_arms.__name__ in named else {**results.study, "sections": [*named, two_arms.__name__]}
    return replace(results, study=study, beside=other)


@SECTIONS.register(facts=SectionFacts("Two arms", place=8, template=beside(__file__)))
def two_arms(evidence: Evidence) -> Content:
    """This study and the one that it is set beside, against the same loss and complexity."""
    results = evidence.results
    if results.beside is None:
        return Content()
    arms = arms_of(results)
    if arms is None:
        return Content(nothing="The levels of one of the two studies have no order, so they are not set side by side.")
    table = arms_table(*arms)
    if table.empty:
        return Content(nothing="The two studies share no measure of sharpness with a train loss or a complexity.")
    return Content(
        page_of(*arms, table),
        figures={"two_arms": partial(against_each_other, *arms)},
        tables={"two_arms.csv": to_csv(table)},
    )
