"""Random numbers that belong to samples: the same for a sample however the data is cut into batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from sharpscope.seeding import Stream


class Draws:
    """Random numbers for ``count`` consecutive samples of a set, ``first`` being the first of them.

    A counter-based generator is wound forward to each sample's own place, so the numbers of sample 700 do not
    depend on whether it came in a batch of 1,000 or alone, nor on the device.

    Args:
        stream: What the numbers are for.
        first: Position of the first sample in its set.
        count: Number of samples, N.
        device: Where the numbers go.

    >>> whole, part = Draws(Stream("example"), 0, 10), Draws(Stream("example"), 6, 4)
    >>> bool((whole.uniform("angle", 3)[6:] == part.uniform("angle", 3)).all())
    True
    """

    def __init__(self, stream: Stream, first: int, count: int, device: str | torch.device = "cpu") -> None:
        self.stream = stream
        self.first = first
        self.count = count
        self.device = device

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return uniform numbers in (0, 1), float32 ``[N, *shape]``; another purpose gives other numbers."""
        # Rounded to float32 the largest doubles would become 1.
        numbers = np.minimum(self._doubles(purpose, shape), 1 - 2.0**-24)
        return torch.from_numpy(numbers.astype(np.float32)).to(self.device)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Return standard normal numbers, float32 ``[N, *shape]``; another purpose gives other numbers."""
        numbers = ndtri(self._doubles(purpose, shape))
        return torch.from_numpy(numbers.astype(np.float32)).to(self.device)

    def _doubles(self, purpose: str, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        steps = -(-size // 4)  # One step of Philox's counter makes four numbers.
        philox = np.random.Philox(key=self.stream.child(purpose).seed).advance(self.first * steps)
        numbers = np.random.Generator(philox).random((self.count, 4 * steps))
        # Numbers are multiples of 2^-53 from 0 on; half a step up keeps them off 0, where the normal is
        # infinite.
        return numbers[:, :size].reshape(self.count, *shape) + 2.0**-54
