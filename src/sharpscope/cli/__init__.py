"""The command line: thin, a file a command, and light to import; what is heavy is imported where it is needed."""

from __future__ import annotations

from sharpscope.cli.app import app
from sharpscope.cli.entry import main, run_command

__all__ = ["app", "main", "run_command"]
