"""Files of the store: what stands in a file's place, and what a killed process has left half-written."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sharpscope.errors import SharpscopeError
from sharpscope.files import TEMPORARY, write_atomic

# A pipe in a file's place would be waited for without this flag; Windows has neither.
NO_WAITING = getattr(os, "O_NONBLOCK", 0)


class Damaged(SharpscopeError):
    """A stored file that is missing or not what was written; what it held is made again."""


class Missing(Damaged):
    """A stored file that is not there, or a link to nothing."""


def read_whole(path: Path) -> bytes:
    """Return the content of a stored file.

    Raises:
        Damaged: If it cannot be read, be it that something else stands in its place.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_WAITING)) as file:
            return file.read()
    except OSError as error:
        raise unreadable(path.name, error) from None


def unreadable(name: str, error: OSError) -> Damaged:
    """Return the error of a stored file for what came when it was read."""
    if isinstance(error, FileNotFoundError):
        return Missing(f"{name} is missing")
    if isinstance(error, IsADirectoryError):
        return Damaged(f"{name} is a folder, not a file")
    return Damaged(f"{name} cannot be read ({error.strerror or error})")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of the store whole or not at all; a folder that stands in its place is moved aside.

    Raises:
        OSError: As ``write_atomic``.
    """
    make_way(path)
    write_atomic(path, data)


def make_way(path: Path) -> None:
    """Move a folder aside that stands in the place of a file; it is not ours to remove."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.aside-{secrets.token_hex(4)}"))


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half-written in this folder (not in the folders below it)."""
    if folder.is_dir():
        for path in folder.glob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)
