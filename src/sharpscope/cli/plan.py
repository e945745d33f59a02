"""``sharpscope plan``: what a study would do, and how long it would take."""

from __future__ import annotations

from typing import Annotated

import typer

from sharpscope.cli import options
from sharpscope.cli.steps import planned


def plan(
    study: options.StudyArgument,
    out: options.Out = None,
    overrides: options.Overrides = None,
    data_dir: options.DataDir = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of processes to reckon with.")] = None,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Show the grid of a study, what is done of it, and an estimate of time and disk; write and download nothing."""
    from sharpscope.study.work.devices import resolve_device, usual_workers

    device = resolve_device(device)
    found, store = planned(study, out, overrides, data_dir, device, to_run=False)

    from sharpscope.study.run.forecast import forecast, show, to_json

    expected = forecast(found, store, workers or usual_workers(device), device)
    print(to_json(found, expected) if json else show(found, expected))
