"""Locks that the kernel frees when their holder dies, what a killed process leaves, and what stands in a file's place.

The locks are ``flock`` locks. On a network file system they hold as far as the server supports them (NFS 4 does, some
cluster file systems need a mount option); two machines writing to one folder without such support are not kept apart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sharpscope.errors import SharpscopeError
from sharpscope.files import TEMPORARY, write_atomic

# Seconds between two tries to get a lock that is waited for a while.
_PAUSE = 0.01


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
        # A pipe in a file's place would be waited for without the flag.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
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


@contextlib.contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Try to hold a lock for the time of the block.

    Args:
        path: The lock's file; it is made where missing and never removed, since removing would race.
        patience: Seconds to try.

    Yields:
        Whether the lock is held.
    """
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + patience
        held = _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while not held and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            held = _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield held
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold a lock for the time of the block; wait for it as long as another has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether someone holds a lock at this moment; nothing is written, not even the lock's file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, since that needs no right to write on network file systems, and two who look do not see each other.
        return not _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_way(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SharpscopeError(f"{path} is a link, and a lock must be a file in its folder; remove it") from None
        raise


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
    descriptor = _open(path)
    try:
        if _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            when_alone()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
