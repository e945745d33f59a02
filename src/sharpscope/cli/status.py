"""``sharpscope status``: how the runs of a study stand."""

from __future__ import annotations

import typer

from sharpscope.cli import options
from sharpscope.cli.codes import FAILED


def status(directory: options.Directory, json: options.Json = False) -> None:
    """Show the runs of a study by state, and why some failed; read all of its files, and write nothing.

    Exit codes: 0 nothing is wrong, 1 some runs failed or stored files are damaged, 2 the command is wrong.
    """
    from sharpscope.store.folder import Store
    from sharpscope.store.status import Status

    found = Status.of(Store.existing(directory))
    print(found.to_json() if json else found)
    if not found.sound:
        raise typer.Exit(FAILED)
