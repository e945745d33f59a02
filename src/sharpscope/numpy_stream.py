"""Named streams of NumPy's random numbers, for code that does without torch; ``seeding`` has those of PyTorch too.

A stream is found by a real hash of its name, so two processes get the same numbers and one more draw in one place
moves nothing elsewhere.

>>> NumpyStream(0, "init").seed == NumpyStream(0, "init").seed
True
>>> NumpyStream(0, "init").seed == NumpyStream(0, "order").seed
False
"""

from __future__ import annotations

import hashlib
import json
from typing import Self

import numpy as np


class NumpyStream:
    """A named source of random numbers.

    Args:
        path: What the numbers are for, from coarse to fine: a seed, a purpose, a part of it.
    """

    def __init__(self, *path: int | str) -> None:
        self.path = path

    def child(self, *path: int | str) -> Self:
        """Return the stream of a part of this purpose; it is independent of this one."""
        return type(self)(*self.path, *path)

    @property
    def seed(self) -> int:
        """A 63-bit seed, equal wherever the path is equal."""
        name = json.dumps(self.path, separators=(",", ":")).encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1

    def numpy(self) -> np.random.Generator:
        """Return a new NumPy generator at the beginning of this stream."""
        return np.random.default_rng(self.seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.path}"
