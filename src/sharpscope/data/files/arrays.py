"""Arrays in NumPy files: mapped into memory to be read, and made so that a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sharpscope.errors import DataError
from sharpscope.files import replacing

# What NumPy tells a damaged header by, which it reads as Python's own notation.
_DAMAGED = (ValueError, TypeError, OSError, EOFError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)


@contextlib.contextmanager
def filling(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield a new array of bytes in a NumPy file that appears at ``path`` once the block has ended well.

    Args:
        path: Where the file is to stand; missing folders are made.
        shape: Of the array.

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            yield array
            array.flush()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}); free some space there") from None


def mapped(path: Path, offset: int, size: int, name: str) -> np.ndarray:
    """Return an array of a NumPy file, or of one that lies within another file, as a read-only memory map.

    Args:
        path: The file.
        offset: The first byte of the array's file in it.
        size: How many bytes there are.
        name: What the array is called, for messages.

    Raises:
        DataError: If it is no NumPy file, holds Python objects, or is cut off.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            shape, fortran, dtype = _header(file)
            start = file.tell()
    except _DAMAGED as error:
        raise DataError(f"{name} in {path} is not a NumPy file or is damaged ({error}); get it again") from None
    if dtype.hasobject:
        raise DataError(f"{name} in {path} holds Python objects, which are never read; get it again")
    there = min(offset + size, path.stat().st_size) - start
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if there != needed:
        raise DataError(f"{name} in {path} should hold {needed} bytes of shape {shape}, got {there}; get it again")
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of its format is not known")
