"""A section of the report: what it shows on the page, what it draws, and which tables it writes.

A section is one folder of ``sharpscope.analysis.sections``, or a function of a plugin:

>>> @SECTIONS.register(facts=SectionFacts("Runs", place=95, template="<p>{{ count }} runs</p>"))
... def count_of_runs(evidence):
...     "How many runs there are."
...     return Content({"count": len(evidence.results.ledger)})
>>> SECTIONS["count_of_runs"].facts.place
95
>>> del SECTIONS._entries["count_of_runs"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.explanations.complexity import Complexity, complexity
from sharpscope.analysis.explanations.confidence import confidence_table
from sharpscope.analysis.explanations.loss import EqualLoss, equal_loss
from sharpscope.analysis.levels import levels_table
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import counted_once
from sharpscope.errors import SpecError, suggest
from sharpscope.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evidence:
    """What a study found, with the tables that sections share; each is computed once, when it is first asked for.

    Attributes:
        results: All that the study found.
    """

    results: StudyResults

    @cached_property
    def distinct(self) -> StudyResults:
        """All that the study found, of levels that are the same runs once; see ``counted_once``."""
        return counted_once(self.results)

    @cached_property
    def levels(self) -> pd.DataFrame:
        """The mean of every quantity at every level of the factor; see ``levels_table``."""
        return levels_table(self.results)

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """Every difference to the reference over the whole study; see ``contrasts_table``."""
        return contrasts_table(self.results)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Every difference to the reference in each setting; see ``comparisons_table``."""
        return comparisons_table(self.results, self.contrasts)

    @cached_property
    def equal_loss(self) -> EqualLoss:
        """What train loss has to do with differences in sharpness; see ``EqualLoss``."""
        return equal_loss(self.results, self.contrasts, self.correlations)

    @cached_property
    def equal_confidence(self) -> pd.DataFrame:
        """What is left of differences where all networks are as sure as one another; see ``confidence_table``."""
        return confidence_table(self.results)

    @cached_property
    def complexity(self) -> Complexity:
        """What complexity has to do with sharpness; see ``Complexity``."""
        return complexity(self.results)

    @cached_property
    def dose(self) -> pd.DataFrame:
        """How quantities move along levels that have an order; empty where they have none; see ``dose_table``."""
        return dose_table(self.results)

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """How measures move with outcomes over the distinct levels; see ``correlations_table``."""
        return correlations_table(self.distinct)


@dataclass(frozen=True)
class Content:
    """What a section has to show of a study.

    Attributes:
        page: What its template is filled in with; None where there is nothing to show on the page.
        figures: By the name of its file without an ending, what draws it; None is a figure that has no data.
        tables: The bytes of each table, by the name of its file.
        interactive: Whether the page needs what draws interactive plots.
        nothing: What is said where there is nothing to show, as HTML; what the section declares when empty.
        title: Its heading, where the study makes it another one than the section declares.
    """

    page: Mapping[str, Any] | None = None
    figures: Mapping[str, Callable[[], Figure | None]] = field(default_factory=dict)
    tables: Mapping[str, bytes] = field(default_factory=dict)
    interactive: bool = False
    nothing: str = ""
    title: str = ""


@dataclass(frozen=True)
class SectionFacts:
    """What a section declares.

    Attributes:
        title: Its heading.
        place: Where it stands: sections follow each other by this number.
        template: The Jinja template of what stands below its heading; empty for a section of files alone. It sees
            the section's own content, ``results``, ``styles``, ``alpha``, the macros of ``macros.html.j2``, as
            ``shown`` the names of the sections that are on the page, to which it may lead, and as ``same_runs`` which
            levels are the same runs, in sentences.
        nothing: What is said below the heading where there is nothing to show, as HTML; the section is left out when
            empty.
        usual: Whether a study has it that does not say which sections its report has.
    """

    title: str
    place: int
    template: str = ""
    nothing: str = ""
    usual: bool = True


# A section is ``(evidence: Evidence, *, options) -> Content``.
SECTIONS: Registry = Registry("section", package="sharpscope.analysis.sections")


def usual_sections() -> list[str]:
    """Return the sections of a report whose study does not say which, in the order of their places."""
    found = sorted((entry.facts.place, name) for name, entry in SECTIONS.items() if entry.facts.usual)
    return [name for _, name in found]


def sections_of(study: Mapping[str, Any]) -> list[str]:
    """Return the sections of the report of a study in their order, whether they are known or not."""
    named = study.get("sections")
    return usual_sections() if named is None else list(named)


def check_sections(named: Sequence[str]) -> None:
    """See that a report can have these sections.

    Raises:
        SpecError: If one is unknown or named twice; ``loc`` leads to it.
    """
    for index, name in enumerate(named):
        loc = ("sections", index)
        if name not in SECTIONS:
            raise SpecError(f"unknown section '{name}'{suggest(name, SECTIONS)}", loc)
        if name in named[:index]:
            raise SpecError(f"the section '{name}' is listed twice", loc)


def beside(module: str) -> str:
    """Return the template ``page.html.j2`` in the folder of a module.

    Args:
        module: The ``__file__`` of the module.
    """
    return Path(module).with_name("page.html.j2").read_text("utf-8")
