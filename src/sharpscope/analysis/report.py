"""The report of a study: one self-contained page, its tables and its figures, put together of sections."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.latex import LatexTable
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import told_same
from sharpscope.analysis.section import SECTIONS, Content, Evidence, sections_of
from sharpscope.analysis.statistics import LEVEL
from sharpscope.analysis.tested import ALPHA
from sharpscope.errors import SharpscopeError
from sharpscope.registry import Registration
from sharpscope.store.files import write_whole
from sharpscope.store.seals import digest

PAGE = "report.html"
# Where the page lists the files beside it that were written with it, each with its checksum.
_FILES = re.compile(rb'<script type="application/json" id="files">(.*?)</script>', re.DOTALL)
_BESIDE = re.compile(r"(?:tables|figures)/[^/\\]+")
_MACROS = '{% from "macros.html.j2" import dot, dumbbells, icon, shape_key, tip with context %}'


def write_report(results: StudyResults, directory: Path, columns: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Write ``report.html``, ``tables/`` and ``figures/`` of a study; the same results give the same bytes.

    Args:
        results: What the study found; runs that failed are told, not hidden.
        directory: Where to write; made if it is not there. Every file is written whole or not at all. What only an
            earlier report has written is removed, unless someone has changed it.
        columns: The columns of numbers that LaTeX tables are to have, by table; all of them where it is not named.

    Returns:
        The path of the page, which needs no other file and no network.

    Raises:
        SharpscopeError: If there is no such table, or it has no such column; nothing is written.
    """
    evidence = Evidence(results)
    contents = contents_of(evidence)
    tables = {name: data for content in contents.values() for name, data in content.tables.items()}
    tables |= _with_columns(tables, columns or {})
    files: dict[str, bytes] = {f"tables/{name}": data for name, data in tables.items()}
    for content in contents.values():
        files |= {f"figures/{name}": data for name, data in files_of(content.figures).items()}
    earlier = _files_of(directory / PAGE)
    for name, data in files.items():
        write_whole(directory / name, data)
    written = {name: digest(data) for name, data in files.items()}
    write_whole(directory / PAGE, render(evidence, contents, written).encode())
    for name in earlier.keys() - files.keys():
        leftover = directory / name
        if leftover.is_file() and digest(leftover.read_bytes()) == earlier[name]:
            leftover.unlink()
    return directory / PAGE


def _with_columns(tables: Mapping[str, bytes], columns: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    """Return the tables that are to have only some columns."""
    known = {name.removesuffix(".tex"): table for name, table in tables.items() if isinstance(table, LatexTable)}
    found: dict[str, bytes] = {}
    for name, chosen in columns.items():
        if name not in known:
            raise SharpscopeError(f"no LaTeX table is called '{name}' (known: {', '.join(known)})")
        try:
            found[f"{name}.tex"] = known[name].only(chosen)
        except SharpscopeError as error:
            raise SharpscopeError(f"table '{name}': {error}") from None
    return found


def _files_of(page: Path) -> dict[str, str]:
    """Return the files that were written with an earlier page, with their checksums.

    Where the page does not tell, none: what nobody vouches for may be someone's work, and stays.
    """
    try:
        found = _FILES.search(page.read_bytes())
        listed = json.loads(found[1]) if found else {}
        return {name: seal for name, seal in listed.items() if _BESIDE.fullmatch(name)}
    except (OSError, ValueError, AttributeError):
        return {}


def contents_of(evidence: Evidence) -> dict[str, Content]:
    """Return what each section of the study has to show, by its name, in the order in which they follow each other."""
    return {name: SECTIONS[name](evidence) for name in sections_of(evidence.results.study) if name in SECTIONS}


def unknown_sections(study: Mapping[str, Any]) -> list[str]:
    """Return the sections that a study names and nobody here knows: those of plugins, which a report does without."""
    return [name for name in sections_of(study) if name not in SECTIONS]


def render(evidence: Evidence, contents: Mapping[str, Content], files: Mapping[str, str] | None = None) -> str:
    """Return the page as HTML, with the sections that have something to show, or to say.

    Args:
        evidence: What the study found.
        contents: What its sections have to show.
        files: What is written with the page, by name with its checksum, for the next report to tell what is left over.
    """
    results = evidence.results
    assets = resources.files("sharpscope.analysis") / "assets"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (assets / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embed": _embed, "quoted": _quoted, "breakable": _breakable}
    shown = {name for name, content in contents.items() if content.page is not None or SECTIONS[name].facts.nothing}
    environment.globals |= {"results": results, "styles": styles_of(results.factor), "alpha": ALPHA, "shown": shown}
    environment.globals["same_runs"] = told_same(results)
    sections = []
    for name, content in contents.items():
        body = _body(environment, SECTIONS[name], content)
        if body:
            sections.append({"name": name, "title": content.title or SECTIONS[name].facts.title, "body": body})
    context = {
        "study": results.study,
        "findings": find(
            *(results, evidence.contrasts, evidence.correlations),
            remains=evidence.equal_loss.remains,
            confidence=evidence.equal_confidence,
            complexity=evidence.complexity,
            dose=evidence.dose,
        ),
        "total": len(results.ledger),
        "done": int((results.ledger["state"] == "done").sum()),
        "seeds": int(results.ledger["seed"].nunique()),
        "short": _short(int(results.runs["seed"].nunique())),
        "sections": sections,
        "files": files or {},
        "version": results.provenance.get("sharpscope", ""),
        "css": (assets / "report.css").read_text("utf-8"),
        "js": (assets / "report.js").read_text("utf-8"),
        "plotly": _plotly() if any(content.interactive for content in contents.values()) else "",
    }
    return environment.get_template("report.html.j2").render(context)


def _short(seeds: int) -> str:
    """Return what intervals of few seeds lack, in a sentence; empty where they are enough, or there is but one."""
    reached = 1 - 2.0 ** (1 - seeds)
    if seeds < 2 or reached >= LEVEL:
        return ""
    return (
        f"With {seeds} seeds, an interval over seeds may hold the truth in {100 * reached:.3g}% of cases only, "
        "whatever level is written beside it."
    )


def _body(environment: jinja2.Environment, section: Registration, content: Content) -> Markup:
    """Return what stands below the heading of a section; nothing where it has nothing to show or to say."""
    facts = section.facts
    if content.page is None:
        nothing = content.nothing or facts.nothing
        return Markup(f"<p>{nothing}</p>" if nothing else "")
    return Markup(environment.from_string(_MACROS + facts.template).render(content.page))


def _embed(data: Any) -> str:
    """Return JSON that cannot end the script element that holds it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _quoted(data: Any) -> Markup:
    """Return JSON as the value of an attribute in single quotes: escaping each double one takes five characters."""
    return Markup(_embed(data).replace("&", "&amp;").replace("'", "&#39;"))


def _breakable(name: str) -> Markup:
    """Return a name of several parts, such as ``regimes.sam.rho``, that may be broken between them; numbers stay."""
    return Markup(re.sub(r"([._])(?=[A-Za-z])", r"\1<wbr>", str(escape(name))))


@cache
def _plotly() -> str:
    """Return the script that draws interactive plots, packed: it is most of a page, and a third of itself so."""
    # Read as data: importing plotly costs half a second and gives the same file.
    script = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, mtime=0)).decode()
