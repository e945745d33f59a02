"""Seals: what is read is what was written, to the bit, or it is not taken.

A file beside a sealed document has its seal in there: its size and its digest, as ``seal_of`` gives them. A file that
stands alone holds its own: the digest of all its other bytes, in place of the zeros of ``UNSEALED``. That is one place
in JSON, in the metadata of safetensors and in those of Parquet, so one function seals and one checks all three. A file
whose seal was lost is as damaged as one whose seal does not fit: nothing becomes trusted by losing it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError

UNSEALED = "0" * 32
KEY = "seal"
_PLACE = re.compile(rb'"seal": ?"([0-9a-f]{32})"')
_LENGTH = 8  # bytes that say how long the header of a safetensors file is


class BrokenSeal(SharpscopeError):
    """A file whose bytes are not those that were sealed, or that has no seal; the message is "is damaged" or such."""


def digest(*parts: bytes | memoryview) -> str:
    """Return a checksum that tells a damaged file from a whole one: 32 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def seal_of(data: bytes) -> dict[str, Any]:
    """Return the seal of a file that has it elsewhere."""
    return {"bytes": len(data), "blake2b": digest(data)}


def check_bytes(data: bytes, seal: Mapping[str, Any] | None) -> None:
    """See that the content of a file is that of its seal.

    Raises:
        BrokenSeal: If it is not, or there is no seal.
    """
    if seal is None:
        raise BrokenSeal("has no seal")
    if seal_of(data) != seal:
        raise BrokenSeal("is damaged")


def check_file(path: Path, seal: Mapping[str, Any], *, read: bool = True) -> None:
    """See that a file is that of its seal, without holding all of it in memory.

    Args:
        path: The file.
        seal: As ``seal_of`` gives it.
        read: Whether to read it; else its size alone is looked at.

    Raises:
        BrokenSeal: If it is not.
        OSError: If the file cannot be read.
    """
    if path.stat().st_size != seal["bytes"]:
        raise BrokenSeal("is damaged")
    if read:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        if found != seal["blake2b"]:
            raise BrokenSeal("is damaged")


def sealed(data: bytes) -> bytes:
    """Return a file with its own seal, in the first place where it has ``"seal": "000..."``."""
    place = _PLACE.search(data)
    if place is None or place[1] != UNSEALED.encode():
        raise ValueError("there is no place for a seal")
    before, after = memoryview(data)[: place.start(1)], memoryview(data)[place.end(1) :]
    return b"".join((before, digest(before, after).encode(), after))


def check_sealed(data: bytes) -> None:
    """See that a file is as ``sealed`` made it.

    Raises:
        BrokenSeal: If it is not, or has no seal.
    """
    place = _PLACE.search(data)
    if place is None:
        raise BrokenSeal("is damaged, or was written before files had seals")
    view = memoryview(data)
    if digest(view[: place.start(1)], view[place.end(1) :]).encode() != place[1]:
        raise BrokenSeal("is damaged")


def sealed_safetensors(data: bytes) -> bytes:
    """Return a safetensors file with its own seal among its metadata; tensors and other metadata stay as they are."""
    length = int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH : _LENGTH + length])
    metadata = {KEY: UNSEALED, **header.pop("__metadata__", {})}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight bytes
    return sealed(b"".join((len(text).to_bytes(_LENGTH, "little"), text, memoryview(data)[_LENGTH + length :])))
