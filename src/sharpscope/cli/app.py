"""The commands, in the order in which ``sharpscope --help`` has them."""

from __future__ import annotations

from typing import Annotated

import typer

import sharpscope
from sharpscope.cli.explain import explain
from sharpscope.cli.list import list_
from sharpscope.cli.measure import measure
from sharpscope.cli.plan import plan
from sharpscope.cli.power import power
from sharpscope.cli.report import report
from sharpscope.cli.run import run
from sharpscope.cli.schema import schema
from sharpscope.cli.status import status

app = typer.Typer(
    name="sharpscope",
    help="Measure what the sharpness of a minimum means.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sharpscope {sharpscope.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _command in (run, plan, status, report, power, measure):
    app.command()(_command)
app.command("list")(list_)
app.command()(explain)
app.command()(schema)
