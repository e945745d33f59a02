"""``sharpscope list``: the names that a study can use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from sharpscope.cli import options


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="measures, scores, datasets, models, regimes, conditions, executors, studies or claims.",
        ),
    ],
    json: options.Json = False,
) -> None:
    """List what there is, with a line on each."""
    from sharpscope.study.planning.listing import listing

    items = listing(what)
    if json:
        from json import dumps

        print(dumps(items, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_table(what, items)
    else:
        for name, summary in items.items():
            print(f"{name}\t{summary}")


def _print_table(title: str, items: Mapping[str, str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(title, style="bold", no_wrap=True)
    table.add_column("summary")
    for name, summary in items.items():
        table.add_row(name, summary)
    Console().print(table)
