"""Files that are written whole or not at all, and locks that the kernel frees when their holder dies.

The locks are ``flock`` locks. On a network file system they hold as far as the server supports them (NFS 4 does, some
cluster file systems need a mount option); two machines writing to one folder without such support are not kept apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

_TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: Where the file is to stand; missing folders are made.
        data: All of its content.

    Raises:
        OSError: If the disk is full or the folder cannot be written; what stood at ``path`` is unchanged then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(data: bytes) -> str:
    """Return a checksum that tells a damaged file from a whole one."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half-written in this folder (not in the folders below it)."""
    if folder.is_dir():
        for path in folder.glob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try to hold a lock for the time of the block, without waiting.

    Args:
        path: The lock's file; it is made where missing and never removed, since removing would race.

    Yields:
        Whether the lock is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def presence(path: Path, when_alone: Callable[[], None]) -> Iterator[None]:
    """Be present in a folder for the time of the block, together with any number of other processes.

    Args:
        path: The lock's file.
        when_alone: Called first if nobody else is present: what lies about half-written is then nobody's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            when_alone()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
