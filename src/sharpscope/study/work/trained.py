"""What a training in company has given one of its runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sharpscope.training import Diverged, History


@dataclass(frozen=True)
class Trained:
    """A training that was part of a pack.

    Attributes:
        model: As it was at the end.
        ended: Its history, or how it diverged.
        seconds: Its share of the time.
    """

    model: nn.Module
    ended: History | Diverged
    seconds: float
