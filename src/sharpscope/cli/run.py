"""``sharpscope run``: a study from its file to its report."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sharpscope.cli import options
from sharpscope.cli.codes import FAILED
from sharpscope.cli.steps import planned, write_all


def run(
    study: options.StudyArgument,
    out: options.Out = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of processes; one a core by default.")
    ] = None,
    executor: Annotated[str, typer.Option(metavar="NAME", help="See `sharpscope list executors`.")] = "local",
    device: options.Device = "cpu",
    overrides: options.Overrides = None,
    data_dir: options.DataDir = None,
) -> None:
    """Run a study, or what is left of it, and write its report.

    Exit codes: 0 all done (a run that diverged is done: that is its result), 1 some runs, or some measures or scores of
    runs, failed, 2 the command or the study is wrong, 130 interrupted.
    """
    from sharpscope.study.executors import EXECUTORS
    from sharpscope.study.run.engine import run_study
    from sharpscope.study.run.progress import watching
    from sharpscope.study.work.devices import resolve_device

    device = resolve_device(device)
    plan, store = planned(study, out, overrides, data_dir, device)
    EXECUTORS[executor]
    with watching() as watcher:
        summary = run_study(plan, store, watcher, executor=executor, workers=workers, device=device)
    print(summary)
    write_all(store.path)
    if not summary.whole:
        print(f"What failed, and why: sharpscope status {store.path}", file=sys.stderr)
        raise typer.Exit(FAILED)
