"""The report of a study: one self-contained page, its tables and its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from sharpscope.analysis import matched, view
from sharpscope.analysis.comparisons import ALPHA, comparisons_table, regimes_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.figures import figure_files
from sharpscope.analysis.findings import at_matched_loss, find
from sharpscope.analysis.palette import looks
from sharpscope.analysis.reliability import bin_count
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.tables import table_files
from sharpscope.errors import SharpscopeError
from sharpscope.seals import digest
from sharpscope.study.files import read_whole, write_whole
from sharpscope.study.record import content_of, document

WRITTEN = ".report.json"  # the files that a report has written, with their checksums


def write_report(results: StudyResults, directory: Path) -> Path:
    """Write ``report.html``, ``tables/`` and ``figures/`` of a study; the same results give the same bytes.

    Args:
        results: What the study found; runs that failed are told, not hidden.
        directory: Where to write; made if it is not there. Every file is written whole or not at all. What only an
            earlier report has written is removed, unless someone has changed it.

    Returns:
        The path of the page, which needs no other file and no network.
    """
    regimes = regimes_table(results)
    comparisons = comparisons_table(results)
    correlations = correlations_table(results)
    files = {
        **{f"tables/{name}": data for name, data in table_files(results, regimes, comparisons, correlations).items()},
        **{f"figures/{name}": data for name, data in figure_files(results, regimes).items()},
        "report.html": render(results, regimes, comparisons, correlations).encode(),
    }
    for name, data in files.items():
        write_whole(directory / name, data)
    _remove_leftovers(directory, files)
    return directory / "report.html"


def _remove_leftovers(directory: Path, files: Mapping[str, bytes]) -> None:
    """Remove what an earlier report wrote and this one did not, and keep a list of the files for the next one."""
    path = directory / WRITTEN
    try:
        earlier: dict[str, str] = content_of(read_whole(path))["files"]
    except SharpscopeError:
        # Leftovers stay then: what nobody vouches for may be someone's work.
        earlier = {}
    for name in earlier.keys() - files.keys():
        leftover = directory / name
        if leftover.is_file() and digest(leftover.read_bytes()) == earlier[name]:
            leftover.unlink()
    write_whole(path, document({"files": {name: digest(data) for name, data in files.items()}}))


def render(results: StudyResults, regimes: pd.DataFrame, comparisons: pd.DataFrame, correlations: pd.DataFrame) -> str:
    """Return the page as HTML."""
    assets = resources.files("sharpscope.analysis") / "assets"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (assets / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embed"] = _embed
    scatter = view.scatter_data(results, correlations)
    context = {
        **_facts(results),
        "findings": find(results, comparisons, correlations),
        "alpha": ALPHA,
        "looks": looks(results.regimes),
        "matched": matched.sections(results, regimes, comparisons),
        "agreement": at_matched_loss(results, comparisons),
        "tables": view.regime_tables(results, regimes, comparisons),
        "every": results.study.get("training", {}).get("check_loss_every"),
        "families": view.family_table(results, comparisons),
        "comparisons": view.all_comparisons(results, comparisons),
        "correlations": view.correlation_tables(results, correlations),
        "bins": 0 if results.reliability.empty else bin_count(results.reliability),
        "reliability": view.reliability_panels(results),
        "scatter": scatter if scatter["x"] and scatter["y"] else None,
        "css": (assets / "report.css").read_text("utf-8"),
        "js": (assets / "report.js").read_text("utf-8"),
        "plotly": _plotly() if scatter["x"] and scatter["y"] else "",
    }
    return environment.get_template("report.html.j2").render(context)


def _facts(results: StudyResults) -> dict[str, Any]:
    """Return what was run and what came of it."""
    states = results.ledger["state"].value_counts()
    study = results.study
    return {
        "results": results,
        "study": study,
        "yaml": yaml.safe_dump(study, sort_keys=False, allow_unicode=True),
        "counts": {state: int(states.get(state, 0)) for state in ("done", "failed", "diverged", "damaged")},
        "total": len(results.ledger),
        "seeds": int(results.ledger["seed"].nunique()),
        "failures": results.failures.astype(object).to_dict("records"),
        "missing": [
            {"what": what, "reason": reason, "runs": len(rows)}
            for (what, reason), rows in results.missing.groupby(["missing", "reason"], sort=False)
        ],
        "provenance": results.provenance,
        "grid": {key: _plain(value) for key, value in study.get("grid", {}).items()},
        "training": {key: _plain(value) for key, value in study.get("training", {}).items()},
    }


def _plain(value: Any) -> str:
    """Return a setting as a reader would write it."""
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _embed(data: Any) -> str:
    """Return JSON that cannot end the script element that holds it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _plotly() -> str:
    # Read as data: importing plotly costs half a second and gives the same file.
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
