"""The exit codes of commands; 130 stands in ``sharpscope.interruption``."""

from __future__ import annotations

FAILED = 1
WRONG = 2
