"""Reading members of archives without unpacking them to the disk."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sharpscope.errors import DataError

# What the reader of zip files tells a damaged one by: a version, packing or encryption that is not known among them.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, struct.error)

# Bytes of the largest file in an archive of a dataset (the training images of CIFAR-100 are 154 MB), and how many times
# its own size an archive may unpack to; images shrink to less than a tenth by no compression.
LARGEST = 1 << 28
MOST_EXPANDED = 50


@dataclass(frozen=True)
class Member:
    """A file in a tar file.

    Attributes:
        name: Its path in the archive.
        offset: Where its first byte is, in the archive as unpacked by gzip or the like.
        size: How many bytes there are.
        read: Returns them, while the archive is open.
    """

    name: str
    offset: int
    size: int
    read: Callable[[], bytes]


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[Iterator[Member]]:
    """Open a tar file, packed or not, and yield its files one by one; memory does not grow with their number.

    Args:
        path: The archive.

    Raises:
        DataError: If it is no tar file, is cut off or damaged, or holds a path that leaves its folder.
    """
    try:
        with _unpacked(path) as unpacked:
            bounded: Any = _Bounded(unpacked, path)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield _files_of(tar, path)
    # The readers of gzip and of tar tell a damaged file by any of these.
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise DataError(f"{path} cannot be read, it is cut off or damaged ({error}); get it again") from None


def _unpacked(path: Path) -> IO[bytes]:
    """Open a file that may be packed, by what it begins with."""
    with path.open("rb") as file:
        begin = file.read(6)
    openers: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    opener = next((opener for magic, opener in openers.items() if begin.startswith(magic)), None)
    return path.open("rb") if opener is None else opener(path)


class _Bounded:
    """A tar file as unpacked, that gives neither more at once nor more in all than one of a dataset can have.

    A few kilobytes can unpack to any size, and what is in the archive says itself how much of it is to be read.

    Args:
        stream: The unpacked bytes.
        path: The archive, for messages.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._end = max(LARGEST, MOST_EXPANDED * path.stat().st_size)
        self.tell, self.close = stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes."""
        if not 0 <= size <= LARGEST:
            raise self._refused(f"asks for {size} bytes at once")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        if whence != os.SEEK_SET or offset > self._end:
            raise self._refused(f"goes on at byte {offset} as unpacked")
        return self._stream.seek(offset)

    def _refused(self, why: str) -> DataError:
        size = self._path.stat().st_size
        return DataError(f"{self._path}, a file of {size} bytes, {why}, which no dataset does; do not use this archive")


def _files_of(tar: tarfile.TarFile, path: Path) -> Iterator[Member]:
    while (header := tar.next()) is not None:
        # Otherwise the archive keeps the header of every file it has seen.
        tar.members = []  # type: ignore[attr-defined]
        name = inside(header.name, path)
        if header.isfile():
            yield Member(name, header.offset_data, header.size, partial(_read, tar, header))


def _read(tar: tarfile.TarFile, header: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(header)
    contents = b"" if opened is None else opened.read()
    if len(contents) != header.size:
        raise EOFError(f"{header.name} ends {header.size - len(contents)} bytes early")
    return contents


def tar_contents(path: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of some files of a tar file.

    Args:
        path: The archive.
        wanted: Their names in the archive.

    Raises:
        DataError: If one is missing, or the archive is damaged or holds a path that leaves its folder.
    """
    names = set(wanted)
    with open_tar(path) as members:
        found = {member.name: member.read() for member in members if member.name in names}
    for name in sorted(names - set(found)):
        raise DataError(f"{path} should hold {name} and does not; get it again")
    return found


class Zip:
    """A zip file whose members are read by name.

    Args:
        path: The archive.

    Raises:
        DataError: If it is no zip file, is cut off or damaged, or holds a path that leaves its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise DataError(f"{path} cannot be read as a zip file ({error}); get it again") from None
        # As a member is called in the archive, "./a" or "a\\b", by its path.
        self._called = {inside(name, path): name for name in self._zip.namelist()}
        self.names = frozenset(self._called)

    def read(self, name: str) -> bytes:
        """Return the contents of a member.

        Raises:
            DataError: If it is missing or damaged.
        """
        if name not in self.names:
            raise DataError(f"{self.path} should hold {name} and does not; get it again")
        called = self._called[name]
        size = self._zip.getinfo(called).file_size
        if size > LARGEST:
            raise DataError(
                f"{name} in {self.path} unpacks to {size} bytes, which no file of a dataset does; get it again"
            )
        try:
            with self._zip.open(called) as opened:
                # Asked for all of it, the reader would first unpack whatever there is.
                contents = opened.read(size)
                if len(contents) != size or opened.read(1):
                    raise EOFError(f"{len(contents)} bytes instead of {size}")
                return contents
        except _DAMAGED as error:
            raise DataError(f"{name} in {self.path} is damaged ({error}); get it again") from None

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()


def inside(name: str, archive: Path) -> str:
    """Return the path of a member without needless parts.

    Raises:
        DataError: If it leads out of the folder that the archive would be unpacked to.
    """
    # A backslash separates folders on some systems, and a colon names a drive there.
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(f"{archive} holds '{name}', a path that leaves its folder; do not use this archive")
    return path.as_posix()
