"""A report as far as a test looks at it: its page, its tables, or its figures, whose drawing takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.report import PAGE, contents_of, render
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.section import SECTIONS, Content, Evidence


def with_few(results: StudyResults, *names: str) -> StudyResults:
    """Return a study in which only some quantities were measured: its figures have few panels."""
    return replace(results, quantities={name: results.quantities[name] for name in names})


def page_and_tables(results: StudyResults) -> tuple[str, dict[str, bytes]]:
    """Return the page of a report and its tables by the names of their files."""
    evidence = Evidence(results)
    contents = contents_of(evidence)
    tables = {name: data for content in contents.values() for name, data in content.tables.items()}
    return render(evidence, contents), tables


def section_of(name: str, results: StudyResults) -> tuple[str, Content]:
    """Return a page of one section alone, and what that has to show."""
    evidence = Evidence(results)
    content = SECTIONS[name](evidence)
    return render(evidence, {name: content}), content


def page_of(results: StudyResults) -> str:
    """Return the page of a report."""
    return page_and_tables(results)[0]


def figures_of(results: StudyResults) -> dict[str, bytes]:
    """Return the figures of a report by the names of their files."""
    contents = contents_of(Evidence(results))
    return {name: data for content in contents.values() for name, data in files_of(content.figures).items()}


def words(page: str) -> str:
    """Return the text of a page with any white space as one space, as a reader sees it."""
    return " ".join(page.split())


def write_page(results: StudyResults, directory: Path) -> Path:
    """Write the page and the tables of a report to a folder and return the path of the page."""
    page, tables = page_and_tables(results)
    (directory / "tables").mkdir()
    for name, data in tables.items():
        (directory / "tables" / name).write_bytes(data)
    path = directory / PAGE
    path.write_text(page, "utf-8")
    return path
