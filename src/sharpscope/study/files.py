"""Locks that the kernel frees when their holder dies, and what a killed process leaves.

The locks are ``flock`` locks. On a network file system they hold as far as the server supports them (NFS 4 does, some
cluster file systems need a mount option); two machines writing to one folder without such support are not kept apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sharpscope.files import TEMPORARY


def digest(data: bytes) -> str:
    """Return a checksum that tells a damaged file from a whole one."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half-written in this folder (not in the folders below it)."""
    if folder.is_dir():
        for path in folder.glob(f".*{TEMPORARY}"):
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
