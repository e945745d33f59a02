"""Named random streams: every random choice draws from a stream derived from a seed and a purpose.

A stream is found by a real hash of its name, so two processes get the same numbers and one more draw in one place
moves nothing elsewhere.

>>> Stream(0, "init").seed == Stream(0, "init").seed
True
>>> Stream(0, "init").seed == Stream(0, "order").seed
False
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


class Stream:
    """A named source of random numbers.

    Args:
        path: What the numbers are for, from coarse to fine: a seed, a purpose, a part of it.
    """

    def __init__(self, *path: int | str) -> None:
        self.path = path

    def child(self, *path: int | str) -> Stream:
        """Return the stream of a part of this purpose; it is independent of this one."""
        return Stream(*self.path, *path)

    @property
    def seed(self) -> int:
        """A 63-bit seed, equal wherever the path is equal."""
        name = json.dumps(self.path, separators=(",", ":")).encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1

    @contextlib.contextmanager
    def governing(self, device: str | torch.device = "cpu") -> Iterator[None]:
        """Seed PyTorch's global generators with this stream for a block, and put them back at its end.

        For code that takes no generator, such as initializers and dropout. Other devices are left alone.

        Args:
            device: Whose generator is seeded beside the CPU's, where it is a CUDA or XPU device.
        """
        import torch

        device = torch.device(device)
        accelerated = device.type in {"cuda", "xpu"}
        with torch.random.fork_rng([device] if accelerated else [], device_type=device.type):
            # torch.manual_seed would seed every device there is, and none but these is put back.
            torch.default_generator.manual_seed(self.seed)
            if accelerated:
                with torch.get_device_module(device).device(device):
                    torch.get_device_module(device).manual_seed(self.seed)
            yield

    def torch(self, device: str | torch.device = "cpu") -> torch.Generator:
        """Return a new PyTorch generator at the beginning of this stream."""
        import torch

        return torch.Generator(device=device).manual_seed(self.seed)

    def numpy(self) -> np.random.Generator:
        """Return a new NumPy generator at the beginning of this stream."""
        import numpy as np

        return np.random.default_rng(self.seed)

    def __repr__(self) -> str:
        return f"Stream{self.path}"
