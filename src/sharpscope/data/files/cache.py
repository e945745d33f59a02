"""Arrays that took long to make, kept as files that are there whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sharpscope.errors import DataError
from sharpscope.files import replacing


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
