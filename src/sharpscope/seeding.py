"""Named random streams: every random choice draws from a stream derived from a seed and a purpose.

>>> Stream(0, "init").seed == Stream(0, "init").seed
True
>>> Stream(0, "init").seed == Stream(0, "order").seed
False
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from sharpscope.numpy_stream import NumpyStream


class Stream(NumpyStream):
    """A named source of random numbers, of NumPy's and of PyTorch's.

    Args:
        path: What the numbers are for, from coarse to fine: a seed, a purpose, a part of it.
    """

    @contextlib.contextmanager
    def governing(self, device: str | torch.device = "cpu") -> Iterator[None]:
        """Seed PyTorch's global generators with this stream for a block, and put them back at its end.

        For code that takes no generator, such as initializers and dropout. Other devices are left alone.

        Args:
            device: Whose generator is seeded beside the CPU's, where it is a CUDA or XPU device.
        """
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
        return torch.Generator(device=device).manual_seed(self.seed)
