"""``sharpscope report``: the report of a study once more."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from sharpscope.cli import options
from sharpscope.cli.codes import FAILED
from sharpscope.cli.steps import check_folder, write_all
from sharpscope.errors import SharpscopeError
from sharpscope.files import forbidden


def report(
    directory: options.Directory,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write; the folder of the study by default.")
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option("--beside", metavar="DIR", help="The folder of another study of ordered levels, as a second arm."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="TABLE=NAME,NAME",
            help="Columns of numbers that tables/TABLE.tex has; all by default. May be given for several tables.",
        ),
    ] = None,
) -> None:
    """Write report.html, tables and figures again, from the store alone.

    Exit codes: 0 all done, 1 the report is without runs that failed or are damaged, 2 the command is wrong.
    """
    from sharpscope.analysis.report import unknown_sections

    elsewhere = out if out is not None and out.resolve() != directory.resolve() else None
    if elsewhere is not None:
        check_folder(elsewhere)
        if (elsewhere / "catalog.json").exists():
            raise SharpscopeError(f"--out {elsewhere} is the folder of another study; name a place of its own")
    try:
        results = write_all(directory, elsewhere, beside, _columns(columns or []))
    except OSError as error:
        if not forbidden(error):
            raise
        raise SharpscopeError(f"{error.filename} cannot be written; name another place with --out") from None
    left_out = [
        f"the section '{name}' is left out, since it is none of Sharpscope's own; one of a plugin is written by "
        "sharpscope run"
        for name in unknown_sections(results.study)
    ]
    for note in (*left_out, *results.notes):
        print(f"Note: {note}", file=sys.stderr)
    if not results.sound:
        raise typer.Exit(FAILED)


def _columns(given: list[str]) -> dict[str, list[str]]:
    """Return the columns that each table is to have; commas in brackets are part of a name.

    >>> _columns(["levels=baseline,sam(rho=0.1, adaptive)"])
    {'levels': ['baseline', 'sam(rho=0.1, adaptive)']}
    """
    found = {}
    for text in given:
        table, equals, names = text.partition("=")
        if not (table and equals and names):
            raise SharpscopeError(f"--columns takes TABLE=NAME,NAME, such as levels=baseline,sam; got '{text}'")
        found[table.strip()] = [name.strip() for name in re.split(r",(?![^(]*\))", names)]
    return found
