"""From the arguments of a process to its exit code; every error that a user can act on becomes one sentence."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator

import typer

from sharpscope.cli.app import app
from sharpscope.cli.codes import FAILED, WRONG
from sharpscope.errors import SharpscopeError
from sharpscope.files import forbidden
from sharpscope.interruption import INTERRUPTED, guarded
from sharpscope.streams import keep_writing, lost_output


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
    except SharpscopeError as error:
        print(f"Error: {_readable(str(error))}", file=sys.stderr)
        raise typer.Exit(WRONG) from None
    except typer.TyperException as error:
        # Arguments that do not fit: these errors tell how the command is used, too.
        error.show()  # type: ignore[attr-defined]
        raise typer.Exit(WRONG) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"Error: {error.strerror or error}{where}", file=sys.stderr)
        # A place that cannot be written is the command's mistake; a disk that fills up is not.
        wrong_place = forbidden(error) or isinstance(error, NotADirectoryError)
        raise typer.Exit(WRONG if wrong_place else FAILED) from None


def _readable(message: str) -> str:
    """Return a message without the middle of what nobody would read to its end; what came may be of any length."""
    return message if len(message) <= 2000 else f"{message[:1400]} ... {message[-500:]}"
