"""Fetching published files: found where they are, else downloaded, resumed where cut off, and verified."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import lock_descriptor

from sharpscope.data.dataset import DataSource
from sharpscope.errors import DataError

TIMEOUT = 30.0  # Seconds without a byte.
PIECE = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file as its authors published it.

    Attributes:
        name: File name, the same at every address.
        sha256: Of the file; empty where only the MD5 was published.
        contents_sha256: Of what the file unpacks to, where known; a copy that was packed anew is then
            accepted.
        md5: Of the file, for one without a published SHA-256.
    """

    name: str
    sha256: str = ""
    contents_sha256: str | None = None
    md5: str = ""

    @property
    def algorithm(self) -> str:
        """How the file is told from others: ``sha256`` or ``md5``."""
        return "sha256" if self.sha256 else "md5"

    @property
    def digest(self) -> str:
        """The published checksum, by that algorithm."""
        return self.sha256 or self.md5

    def expected(self, found: str) -> str:
        """Return a clause for messages: what the checksum is, and what it should be."""
        return f"{self.algorithm.upper().replace('SHA', 'SHA-')} {found} instead of {self.digest}"


def locate(file: RemoteFile, source: DataSource, folders: Sequence[str], mirrors: Sequence[str]) -> Path:
    """Return the path of a file: in the user's folder, else in the cache, else downloaded.

    Args:
        file: What is looked for.
        source: The user's folder and whether to download.
        folders: Below the user's folder, searched in this order; the first is where a download goes.
        mirrors: Addresses of folders that hold the file, tried in this order, each ending with a slash.

    Raises:
        DataError: If the file is nowhere and may not or cannot be downloaded.
    """
    places = [source.home / folder / file.name for folder in folders]
    for place in places:
        if place.is_file():
            return place
    if not source.download:
        raise DataError(
            f"{file.name} is in none of {', '.join(str(place.parent) for place in places)}; put the file of "
            f"{mirrors[0]} there, or name the folder that has it as the data directory"
        )
    fetch(file, mirrors, places[0])
    return places[0]


def fetch(file: RemoteFile, mirrors: Sequence[str], target: Path) -> None:
    """Download a file from the first mirror that gives it whole; ``target`` then exists whole or not at all.

    A download that breaks off leaves ``target`` with ``.part`` added, and the next one goes on from there. Of
    several processes that want the same file, one downloads it and the others wait.

    Raises:
        DataError: If no mirror gives the published file, with the reason of each.
    """
    try:
        with _folder_of(target), _alone(target):
            if not target.is_file():
                _fetch_alone(file, mirrors, target)
    except OSError as error:
        raise DataError(f"{file.name} could not be downloaded into {target.parent}: {error}") from None


def _fetch_alone(file: RemoteFile, mirrors: Sequence[str], target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for mirror in mirrors:
        try:
            _download(mirror + file.name, part)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reasons.append(f"{mirror}: {error}")
            continue
        found = checksum(part, file.algorithm)
        if found == file.digest:
            part.replace(target)
            return
        part.unlink()
        reasons.append(f"{mirror}: {file.expected(found)}")
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(reasons)}); put it in "
        f"{target.parent} by hand, or name the folder that has it as the data directory"
    )


def checksum(path: Path, algorithm: str) -> str:
    """Return the checksum of a file, which may be large, in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def verify(file: RemoteFile, path: Path, packed: bytes, contents: bytes) -> None:
    """Check that a file is the published one, or holds what the published one holds.

    Args:
        file: What it should be.
        path: Where it came from, for the message.
        packed: Its bytes.
        contents: What they unpack to.

    Raises:
        DataError: If it is another file.
    """
    found = hashlib.sha256(packed).hexdigest()
    if found == file.sha256:
        return
    if file.contents_sha256 and hashlib.sha256(contents).hexdigest() == file.contents_sha256:
        return
    raise DataError(
        f"{path} is not the file that was published: expected SHA-256 {file.sha256}, got {found}; put the "
        "published file in its place, or name another data directory"
    )


def verify_file(file: RemoteFile, path: Path) -> None:
    """Check that a file, which may be large, is the published one.

    Raises:
        DataError: If it is another file.
    """
    found = checksum(path, file.algorithm)
    if found != file.digest:
        raise DataError(
            f"{path} is not the file that was published: {file.expected(found)}; put the published file in its "
            "place, or name another data directory"
        )


@contextlib.contextmanager
def _folder_of(target: Path) -> Iterator[None]:
    """Make the folders above ``target`` for a block; those that the block left empty are removed again."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Wait for, and hold, the right to write ``target``; the kernel frees it when its holder dies."""
    path = target.with_name(f".{target.name}.lock")
    with contextlib.ExitStack() as stack:
        while True:
            lock = stack.enter_context(path.open("wb"))
            lock_descriptor(lock.fileno())
            # Its last holder removed the file that was waited at; another may hold the one in its place.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                    break
        try:
            yield
        finally:
            # Windows removes no file that is open, and the next who downloads here takes this one then.
            with contextlib.suppress(PermissionError):
                path.unlink(missing_ok=True)


def _download(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of a file; raises where the connection breaks, keeping what came."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            missing = response.length
            # A server that knows no ranges sends the whole file with status 200.
            with part.open("ab" if response.status == 206 else "wb") as out:
                while piece := response.read(PIECE):
                    out.write(piece)
                    missing = missing and missing - len(piece)
    except urllib.error.HTTPError as error:
        error.close()
        # 416: nothing lies beyond what is there already; the checksum decides whether that is the file.
        if error.code != 416:
            raise
    else:
        # Reading in pieces takes a connection that ends early for the end of the file.
        if missing:
            raise urllib.error.URLError(f"the connection ended {missing} bytes early")
