"""The IDX format of MNIST and its relatives: a header that tells type and shape, then the array."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from sharpscope.data.files.archives import LARGEST
from sharpscope.errors import DataError

UNSIGNED_BYTE = 0x08
LONGEST_HEADER = 16  # bytes, of three dimensions


def unpack(packed: bytes, path: Path) -> bytes:
    """Return what a gzip file holds, as far as the header of the array in it goes.

    Args:
        packed: Its bytes.
        path: Where they came from, for messages.

    Raises:
        DataError: If it is no gzip file, or is cut off or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            header = file.read(LONGEST_HEADER)
            # A small file may unpack to any size, so no more is read than it says of itself, and a byte that tells.
            return header + file.read(max(0, min(_declared(header), LARGEST) + 1 - len(header)))
    except gzip.BadGzipFile:
        raise DataError(f"{path} should be a gzip file but is not, or is damaged; get it again") from None
    except (EOFError, zlib.error):
        raise DataError(f"{path} is cut off or damaged; get it again") from None


def _declared(header: bytes) -> int:
    """Return how many bytes there should be by the first ones, which may be any."""
    dimensions = header[3] if len(header) > 3 else 0
    size = 4 + 4 * dimensions
    if len(header) < size or size > LONGEST_HEADER:
        return len(header)
    return size + math.prod(int(n) for n in np.frombuffer(header, ">u4", dimensions, offset=4))


def parse(contents: bytes, dimensions: int, path: Path) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes.

    Args:
        contents: The unpacked file.
        dimensions: How many the array should have.
        path: Where it came from, for messages.

    Returns:
        Read-only uint8 array.

    Raises:
        DataError: If the header says something else, or the length does not match it.
    """
    expected = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if contents[:4] != expected:
        raise DataError(
            f"{path} should begin with the IDX magic number 0x{expected.hex()} (unsigned bytes, {dimensions} "
            f"dimensions) but begins with 0x{contents[:4].hex()}; are images and labels exchanged?"
        )
    header = 4 + 4 * dimensions
    if len(contents) < header:
        raise DataError(f"{path} is cut off within its header of {header} bytes; get it again")
    shape = tuple(int(size) for size in np.frombuffer(contents, ">u4", dimensions, offset=4))
    size = header + int(np.prod(shape, dtype=object))
    if len(contents) != size:
        raise DataError(
            f"{path} should unpack to {size} bytes for an array of shape {shape}, got {len(contents)}; get it again"
        )
    return np.frombuffer(contents, np.uint8, offset=header).reshape(shape)
