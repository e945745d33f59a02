"""Trainings that are broken off."""

from __future__ import annotations

from collections.abc import Callable

from sharpscope.training.history import Epoch


class Killed(BaseException):
    """What a signal does."""


def killed_after(epoch: int) -> Callable[[Epoch], None]:
    """Return a callback that breaks a training off at the end of an epoch."""

    def on_epoch(record: Epoch) -> None:
        if record.epoch == epoch:
            raise Killed

    return on_epoch
