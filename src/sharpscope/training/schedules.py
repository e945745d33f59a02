"""Learning rate schedules: the factor on the learning rate at each step of the whole training."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

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


def warmed_up(schedule: Callable[[int, int], float], steps: int) -> Callable[[int, int], float]:
    """Return a schedule that rises linearly over the first steps, and then runs over the rest of the training.

    >>> [warmed_up(linear, 2)(step, 6) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    return partial(_after_warmup, schedule, steps) if steps else schedule


def _after_warmup(schedule: Callable[[int, int], float], warmup: int, step: int, steps: int) -> float:
    return (step + 1) / warmup if step < warmup else schedule(step - warmup, steps - warmup)
