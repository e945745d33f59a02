"""Standard streams that work on when nobody reads them: a pager that was closed must not end hours of work."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def keep_writing() -> None:
    """Give this process streams that drop what cannot be written, instead of raising wherever something is printed.

    A stream that was closed before leads nowhere from now on; else the next file that is opened would be in its place,
    and what is printed would go into it.
    """
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - it is open for as long as the process is
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def lost_output() -> str:
    """Write out what is buffered, and return why some of it was lost, if a full disk or the like was the reason.

    A reader who has seen enough, such as ``head``, is no loss.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Lasting) else ""


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        # Workers inherit it, so that their files do not take its place either.
        os.dup2(nowhere, descriptor, inheritable=True)
        if nowhere != descriptor:
            os.close(nowhere)


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream that writes as ``stream`` does, to the descriptor."""
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(descriptor, "wb", closefd=False)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        # A character that the terminal cannot show is no reason to stop either.
        errors="backslashreplace",
        line_buffering=bool(getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False)),
    )


class _Lasting(io.FileIO):
    """A descriptor that takes everything; ``lost`` tells why some of it went nowhere."""

    lost = ""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of the bytes and return how many; all of them where nothing can be written any more."""
        if self.lost:
            return memoryview(data).nbytes
        try:
            while (written := super().write(data)) is None:
                # Somebody who shares the terminal has asked it not to block.
                select.select([], [self], [])
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.lost = error.strerror or str(error)
            return memoryview(data).nbytes
        return written
