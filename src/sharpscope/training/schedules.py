"""Learning rate schedules: the factor on the learning rate at each step of the whole training."""

from __future__ import annotations

import math

from sharpscope.training.registry import SCHEDULES


@SCHEDULES.register()
def constant(step: int, steps: int) -> float:
    """The same learning rate throughout."""
    return 1.0


@SCHEDULES.register()
def linear(step: int, steps: int) -> float:
    """A straight line that would reach zero one step after the last.

    >>> [linear(step, 4) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return 1.0 - step / steps


@SCHEDULES.register()
def cosine(step: int, steps: int) -> float:
    """Half a cosine that would reach zero one step after the last.

    Reference: Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts.
    """
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))
