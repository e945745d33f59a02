"""Fetching published files: found where they are, else downloaded, resumed where cut off, and verified."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pooch

from sharpscope.data.dataset import Source
from sharpscope.errors import DataError

TIMEOUT = 30.0  # Seconds without a byte.
PIECE = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file as its authors published it.

    Attributes:
        name: File name, the same at every address.
        sha256: Of the file.
        contents_sha256: Of what the file unpacks to, where known; a copy that was packed anew is then
            accepted.
    """

    name: str
    sha256: str
    contents_sha256: str | None = None


def locate(file: RemoteFile, source: Source, folders: Sequence[str], mirrors: Sequence[str]) -> Path:
    """Return the path of a file: in the user's folder, else in the cache, else downloaded.

    Args:
        file: What is looked for.
        source: The user's folder and whether to download.
        folders: Below the user's folder, searched in this order; the first is where a download goes.
        mirrors: Addresses of folders that hold the file, tried in this order, each ending with a slash.

    Raises:
        DataError: If the file is nowhere and may not or cannot be downloaded.
    """
    home = source.data_dir or Path(pooch.os_cache("sharpscope"))
    places = [home / folder / file.name for folder in folders]
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

    A download that breaks off leaves ``target`` with ``.part`` added, and the next one goes on from there.

    Raises:
        DataError: If no mirror gives the published file, with the reason of each.
    """
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for mirror in mirrors:
        try:
            _download(mirror + file.name, part)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reasons.append(f"{mirror}: {error}")
            continue
        found = pooch.file_hash(str(part), alg="sha256")
        if found == file.sha256:
            part.replace(target)
            return
        part.unlink()
        reasons.append(f"{mirror}: SHA-256 {found} instead of {file.sha256}")
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(reasons)}); put it in "
        f"{target.parent} by hand, or name the folder that has it as the data directory"
    )


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


def _download(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of a file; raises where the connection breaks, keeping what came."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            # Only now: a download that never began leaves no empty folder.
            part.parent.mkdir(parents=True, exist_ok=True)
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
