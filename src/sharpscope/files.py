"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp"  # how the name of a file ends that is not yet whole


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: Where the file is to stand; missing folders are made.
        data: All of its content.

    Raises:
        OSError: If the disk is full or the folder cannot be written; what stood at ``path`` is unchanged then.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file in the same folder, which is at ``path`` once the block has ended well.

    Args:
        path: Where the file is to stand; missing folders are made.

    Raises:
        OSError: As ``write_atomic``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # What the user knows is the place, not the temporary file or, as of a write, none.
            error.filename, error.filename2 = str(path), None
        raise
    _sync_folder(path.parent)


def no_space(error: BaseException | None) -> bool:
    """Return whether an error, or what it came of, is that of a disk or a quota that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def forbidden(error: OSError) -> bool:
    """Return whether an error is that of a place where one may not write: by its rights, or its whole file system."""
    return isinstance(error, PermissionError) or error.errno == errno.EROFS


def _sync_folder(folder: Path) -> None:
    # Windows opens no folder, and writes the names of files by itself.
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
