"""``sharpscope power``: how many seeds a study takes."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from sharpscope.cli import options
from sharpscope.errors import SharpscopeError

# Columns of a terminal in which any table fits; it is laid out there to be measured.
_WIDEST = 10_000


def power(
    directory: options.Directory,
    effect: Annotated[
        list[str] | None,
        typer.Option(
            "--effect",
            metavar="QUANTITY=SIZE",
            help="A difference that matters: a factor above 1 of what is compared by ratio; the study's margins else.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Tell how many seeds it takes to see a difference, by the spread of the seeds that a study has.

    Of each test of the primary family it prints the smallest difference that is found in four of five studies of 5 to
    30 seeds, or, where a difference is asked for, in what share of studies it is found.
    """
    from sharpscope.analysis.ledger import load_results
    from sharpscope.analysis.planner import planned

    results = load_results(directory)
    margins = {name: size for name, size in results.study.get("margin", {}).items() if name in results.primary}
    table = planned(results, {**margins, **dict(map(_parsed, effect or ()))})
    if json:
        print(table.to_json(orient="records", indent=2, double_precision=6))
        return
    header, rows = _texts(table, results.factor.name)
    if sys.stdout.isatty():
        _print_table(header, rows)
    else:
        for row in (header, *rows):
            print("\t".join(row))


def _parsed(text: str) -> tuple[str, float]:
    name, _, size = text.partition("=")
    try:
        return name, float(size)
    except ValueError:
        raise SharpscopeError(f"--effect is QUANTITY=SIZE, such as test_accuracy=0.01, got {text}") from None


def _texts(table: Any, factor: str) -> tuple[list[str], list[list[str]]]:
    """Return the table with a column for each number of seeds, as text."""
    from sharpscope.analysis import numbers

    seeds = sorted(set(table["n"]))
    header = ["quantity", factor, "told", *(f"n={n}" for n in seeds)]
    rows = []
    for (name, level), part in table.groupby(["quantity", factor], sort=False):
        first = part.iloc[0]
        if first["sd"] == 0:
            told, cells = "no spread to tell by", ["–"] * len(part)
        elif first["effect"] > 0:
            told = f"power to see {numbers.at_least(first['scale'], first['effect'])}"
            cells = [f"{value:.2f}" for value in part["power"]]
        else:
            told = "smallest seen"
            cells = [numbers.at_least(first["scale"], size) for size in part["detectable"]]
        rows.append([str(name), str(level), told, *cells])
    return header, rows


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    for name in header:
        table.add_column(name, justify="right" if name.startswith("n=") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if console.measure(table, options=console.options.update(width=_WIDEST)).maximum <= console.width:
        console.print(table)
    else:
        print("\n".join(_lines(header, rows, console.width)))


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the table in lines of a narrow terminal: each test has a line, and its numbers below it."""
    for quantity, level, told, *cells in rows:
        yield f"{quantity}, {level}: {told}"
        # Joined by what is no white space to textwrap, so that no number is parted from its n.
        told_cells = " ".join(f"{name}\u00a0{cell}," for name, cell in zip(header[3:], cells, strict=True))
        wrapped = textwrap.wrap(told_cells.rstrip(","), width, initial_indent="  ", subsequent_indent="  ")
        yield from (line.replace("\u00a0", " ") for line in wrapped)
