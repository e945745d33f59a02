"""The command line: thin, and light to import; everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import sharpscope
from sharpscope.errors import SharpscopeError
from sharpscope.interruption import INTERRUPTED, guarded
from sharpscope.streams import keep_writing, lost_output

FAILED = 1
WRONG = 2

# Of the click that typer uses: its own copy or the installed one, as versions go.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="sharpscope",
    help="Measure what the sharpness of a minimum means.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a preset.")]
DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the study; sharpscope-runs/NAME by default.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the study; values are YAML.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of datasets, searched first.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps; auto for an accelerator if any.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; the entry point of the package."""
    keep_writing()
    sys.exit(guarded(_told_whole))


def _told_whole() -> int:
    """Run the command of this process; one whose output could not be written has failed."""
    code = run_command(sys.argv[1:])
    lost = lost_output()
    if lost:
        print(f"Error: what was printed could not be written whole: {lost}", file=sys.stderr)
    return code or (FAILED if lost else 0)


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 some runs failed, 2 wrong, 130 interrupted."""
    try:
        with _one_sentence():
            code = app(arguments, standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:
        last = traceback.extract_tb(stop.__traceback__)[-1]
        where = f"{last.filename}, line {last.lineno}"
        print(f"Error: {where}, calls sys.exit({stop.code!r}) before the command has done its work", file=sys.stderr)
        return FAILED
    # Typer turns an interruption into this code itself, or lets it pass, as versions go.
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn errors that a user can act on into one sentence and an exit code."""
    try:
        yield
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        raise typer.Exit(WRONG) from None
    except SharpscopeError as error:
        print(f"Error: {_readable(str(error))}", file=sys.stderr)
        raise typer.Exit(WRONG) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"Error: {error.strerror or error}{where}", file=sys.stderr)
        # A place that cannot be written is the command's mistake; a disk that fills up is not.
        wrong_place = isinstance(error, PermissionError | NotADirectoryError)
        raise typer.Exit(WRONG if wrong_place else FAILED) from None


def _readable(message: str) -> str:
    """Return a message without the middle of what nobody would read to its end; what came may be of any length."""
    return message if len(message) <= 2000 else f"{message[:1400]} ... {message[-500:]}"


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


@app.command()
def run(
    study: StudyArgument,
    out: OutOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of processes; one a core by default.")
    ] = None,
    executor: Annotated[str, typer.Option(metavar="NAME", help="See `sharpscope list executors`.")] = "local",
    device: DeviceOption = "cpu",
    overrides: SetOption = None,
    data_dir: DataOption = None,
) -> None:
    """Run a study, or what is left of it, and write its report.

    Exit codes: 0 all done (a run that diverged is done: that is its result), 1 some runs, or some measures or scores of
    runs, failed, 2 the command or the study is wrong, 130 interrupted.
    """
    from sharpscope.study.devices import resolve_device
    from sharpscope.study.engine import run_study
    from sharpscope.study.executors import EXECUTORS
    from sharpscope.study.progress import watching

    device = resolve_device(device)
    plan, store = _planned(study, out, overrides, data_dir, device)
    EXECUTORS[executor]
    with watching() as watcher:
        summary = run_study(plan, store, watcher, executor=executor, workers=workers, device=device)
    print(summary)
    _write_all(store.path)
    if not summary.whole:
        print(f"What failed, and why: sharpscope status {store.path}", file=sys.stderr)
        raise typer.Exit(FAILED)


def _planned(
    study: str,
    out: Path | None,
    overrides: list[str] | None,
    data_dir: Path | None,
    device: str,
    *,
    to_run: bool = True,
) -> tuple[Any, Any]:
    """Return the plan of a study and its store; nothing is written."""
    from sharpscope.study.source import load_source

    source = load_source(study, overrides or ())

    from sharpscope.store.folder import Store
    from sharpscope.study.plan import make_plan

    plan = make_plan(source, data_dir, to_run=to_run, device=device)
    directory = out or Path("sharpscope-runs") / plan.study.name
    _check_folder(directory)
    return plan, Store(directory)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SharpscopeError(f"--out must be a folder, and {out} is a file")


def _write_all(directory: Path, place: Path | None = None) -> Any:
    """Write the ledger and the report from the store, into it or to another place; return what they were made of."""
    from sharpscope.analysis.ledger import results_of, write_ledger
    from sharpscope.analysis.report import write_report
    from sharpscope.store.folder import Store
    from sharpscope.store.pairs import compute_pairs, write_pairs
    from sharpscope.store.reading import Reading

    store = Store.existing(directory)
    with Store(place or directory).reporting():
        reading = Reading.of(store)
        pairs = compute_pairs(reading)
        # What is written elsewhere needs no right to write here.
        if place is None:
            store.tidy()
            write_pairs(store, pairs)
        results = results_of(reading, pairs)
        write_ledger(results.ledger, place or directory)
        path = write_report(results, place or directory)
    print(f"Report: {path}")
    return results


@app.command()
def plan(
    study: StudyArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    data_dir: DataOption = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of processes to reckon with.")] = None,
    device: DeviceOption = "cpu",
    json: JsonOption = False,
) -> None:
    """Show the grid of a study, what is done of it, and an estimate of time and disk; write and download nothing."""
    from sharpscope.study.devices import resolve_device, usual_workers

    device = resolve_device(device)
    planned, store = _planned(study, out, overrides, data_dir, device, to_run=False)

    from sharpscope.study.forecast import forecast, show, to_json

    found = forecast(planned, store, workers or usual_workers(device), device)
    print(to_json(planned, found) if json else show(planned, found))


@app.command()
def status(directory: DirArgument, json: JsonOption = False) -> None:
    """Show the runs of a study by state, and why some failed; read all of its files, and write nothing.

    Exit codes: 0 nothing is wrong, 1 some runs failed or stored files are damaged, 2 the command is wrong.
    """
    from sharpscope.store.folder import Store
    from sharpscope.store.status import Status

    found = Status.of(Store.existing(directory))
    print(found.to_json() if json else found)
    if not found.sound:
        raise typer.Exit(FAILED)


@app.command()
def report(
    directory: DirArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write; the folder of the study by default.")
    ] = None,
) -> None:
    """Write report.html, tables and figures again, from the store alone.

    Exit codes: 0 all done, 1 the report is without runs that failed or are damaged, 2 the command is wrong.
    """
    elsewhere = out if out is not None and out.resolve() != directory.resolve() else None
    if elsewhere is not None:
        _check_folder(elsewhere)
        if (elsewhere / "catalog.json").exists():
            raise SharpscopeError(f"--out {elsewhere} is the folder of another study; name a place of its own")
    try:
        results = _write_all(directory, elsewhere)
    except PermissionError as error:
        raise SharpscopeError(f"{error.filename} cannot be written; name another place with --out") from None
    for note in results.notes:
        print(f"Note: {note}", file=sys.stderr)
    if not results.sound:
        raise typer.Exit(FAILED)


@app.command()
def measure(
    model: Annotated[str, typer.Option(metavar="PKG.MODULE:FACTORY", help="A function that returns the model.")],
    weights: Annotated[Path, typer.Option(metavar="FILE", help="A safetensors file, or a state dict of torch.save.")],
    data: Annotated[str, typer.Option(metavar="NAME", help="See `sharpscope list datasets`.")],
    measures: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names of measures; the cheap exact ones by default.")
    ] = None,
    data_dir: DataOption = None,
    device: DeviceOption = "cpu",
    json: JsonOption = False,
) -> None:
    """Measure a checkpoint of your own on the clean training data of a dataset."""
    from sharpscope.study.checkpoint import measure_checkpoint
    from sharpscope.study.devices import resolve_device

    names = [name.strip() for name in measures.split(",")] if measures else None
    found = measure_checkpoint(model, weights, data, names, data_dir, resolve_device(device))
    if json:
        print(found.to_json())
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        print(found)


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="measures, scores, datasets, models, regimes, corruptions, executors or studies.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """List what there is, with a line on each."""
    from sharpscope.study.listing import listing

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


@app.command()
def explain(name: Annotated[str, typer.Argument(metavar="NAME", help="A measure or a score.")]) -> None:
    """Explain a measure or score: definition, units, direction, invariances, cost, caveats, reference."""
    from sharpscope.study.listing import explanation

    print(explanation(name))


if __name__ == "__main__":
    main()
