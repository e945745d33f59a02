"""Random numbers for all parameters of a model, the last of which are kept, since the same are asked for again.

They come again for the other sign of an antithetic pair, for another size of the noise, for the twins of a model, and
for every model of one shape that is measured with one seed. For a small model they take longer to draw than it takes to
be evaluated.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from sharpscope.curvature.risk import Parameters
from sharpscope.seeding import Stream

Draw = Callable[..., Tensor]
# Bytes that are kept at most.
_ROOM = 2**24


class Draws:
    """Draws numbers, and keeps the last ones.

    Args:
        room: Bytes that are kept at most; what is larger by itself is not kept.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._kept: OrderedDict[Hashable, Parameters] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, stream: Stream, draw: Draw, parameters: Parameters) -> Parameters:
        """Return numbers in the shape of each parameter; they are not to be written to.

        Args:
            stream: Where they are drawn from, in the order of the parameters.
            draw: Like ``torch.randn``.
            parameters: Whose shapes, precision and device they are to have.
        """
        device = next(iter(parameters.values())).device
        if device.type != "cpu":
            # Where they are drawn as fast as they are read.
            return _drawn(stream, draw, parameters)
        key = (stream.path, draw, tuple((name, p.shape, p.dtype) for name, p in parameters.items()))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = _drawn(stream, draw, parameters)
        with self._lock:
            self._keep(key, found)
        return found

    def _keep(self, key: Hashable, found: Parameters) -> None:
        # Another thread may have drawn the same.
        self._bytes += _size(found) - _size(self._kept.pop(key, {}))
        self._kept[key] = found
        while self._bytes > self._room:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(numbers: Parameters) -> int:
    return sum(tensor.nbytes for tensor in numbers.values())


def _drawn(stream: Stream, draw: Draw, parameters: Parameters) -> Parameters:
    generator = stream.torch(next(iter(parameters.values())).device)
    # What is kept may be used where gradients are taken.
    with torch.inference_mode(False):
        return {
            name: draw(p.shape, generator=generator, dtype=p.dtype, device=p.device) for name, p in parameters.items()
        }
