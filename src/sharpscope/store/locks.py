"""Locks that the kernel frees when their holder dies, on every system.

They are those of ``filelock``: ``flock`` on Unix, ``LockFileEx`` on Windows. On a network file system they hold as far
as the server supports them (NFS 4 does, some cluster file systems need a mount option); two machines writing to one
folder without such support are not kept apart.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import lock_descriptor

from sharpscope.errors import SharpscopeError
from sharpscope.store.files import NO_WAITING, make_way

# Seconds between two tries to get a lock that is waited for.
_PAUSE = 0.01
# Seconds that nobody holds a lock who only looks whether it is held.
_GLANCE = 0.1
# Windows has neither; what it opens is not inherited in any case.
_OWN_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Try to hold a lock for the time of the block.

    Args:
        path: The lock's file; it is made where missing and not removed, since removing would race.
        patience: Seconds to try.

    Yields:
        Whether the lock is held.
    """
    descriptor = _open(path)
    try:
        yield _take(descriptor, patience)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold a lock for the time of the block; wait for it as long as another has it."""
    with locked(path, patience=math.inf):
        yield


def is_held(path: Path) -> bool:
    """Return whether someone holds a lock at this moment; nothing is written, not even the lock's file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_WAITING | _OWN_FILE)
    except OSError:
        return False
    try:
        return not _is_free(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def presence(path: Path, when_alone: Callable[[], None]) -> Iterator[None]:
    """Be present in a folder for the time of the block, together with any number of other processes.

    The locks of ``filelock`` are exclusive, so that many cannot hold one together. Each process holds one of its own
    instead, beside ``path``, and looks for those of others while it holds ``path`` itself, the door.

    Args:
        path: The lock's file.
        when_alone: Called first if nobody else is present: what lies about half-written is then nobody's.
    """
    place = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    with contextlib.ExitStack() as stay:
        with in_turn(path):
            others = list(path.parent.glob(f"{path.name}-*"))
            if not any(is_held(other) for other in others):
                for killed in others:
                    killed.unlink(missing_ok=True)
                when_alone()
            stay.callback(place.unlink, missing_ok=True)
            stay.enter_context(locked(place))
        yield


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_way(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _OWN_FILE, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SharpscopeError(f"{path} is a link, and a lock must be a file in its folder; remove it") from None
        raise


def _take(descriptor: int, patience: float) -> bool:
    """Try for some seconds to get the lock of an open file, and return whether it was got."""
    deadline = time.monotonic() + patience
    while not (held := lock_descriptor(descriptor, blocking=False)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return held


def _is_free(descriptor: int) -> bool:
    """Return whether nobody holds the lock of an open file.

    A shared lock, which ``filelock`` does not have, needs no right to write on network file systems, and two who look
    do not see each other. Where the system has none either, a lock that is got within a moment was held by another
    who looked.
    """
    try:
        from fcntl import LOCK_NB, LOCK_SH, flock
    except ImportError:
        return _take(descriptor, _GLANCE)
    try:
        flock(descriptor, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return False
    return True
