"""Learning rate schedules: the factor on the learning rate at each step of the whole training."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import Field

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


@SCHEDULES.register()
def step(
    step: int,
    steps: int,
    *,
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75),
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
) -> float:
    """A learning rate that falls by a factor at each milestone.

    Args:
        step: From 0 on.
        steps: Of the whole training.
        milestones: Shares of the training after which it falls.
        factor: What it is multiplied by there.

    Reference: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Section 4.2.

    >>> [step(now, 8) for now in (0, 3, 4, 5)], round(step(6, 8), 12)
    ([1.0, 1.0, 0.1, 0.1], 0.01)
    """
    return math.prod((factor for share in milestones if step >= share_of(steps, share)), start=1.0)


def share_of(whole: int, share: float) -> float:
    """Return a share of a number of steps or epochs, without the rounding that makes it a step more or less.

    >>> 0.28 * 25, share_of(25, 0.28), 0.7 * 90, share_of(90, 0.7)
    (7.000000000000001, 7.0, 62.99999999999999, 63.0)
    """
    return round(share * whole, 6)


def warmed_up(schedule: Callable[[int, int], float], steps: int) -> Callable[[int, int], float]:
    """Return a schedule that rises linearly over the first steps, and then runs over the rest of the training.

    >>> [warmed_up(linear, 2)(step, 6) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    return partial(_after_warmup, schedule, steps) if steps else schedule


def _after_warmup(schedule: Callable[[int, int], float], warmup: int, step: int, steps: int) -> float:
    return (step + 1) / warmup if step < warmup else schedule(step - warmup, steps - warmup)
