"""Locks that the kernel frees when their holder dies.

The locks are ``flock`` locks. On a network file system they hold as far as the server supports them (NFS 4 does, some
cluster file systems need a mount option); two machines writing to one folder without such support are not kept apart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sharpscope.errors import SharpscopeError
from sharpscope.store.files import make_way

# Seconds between two tries to get a lock that is waited for a while.
_PAUSE = 0.01


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
