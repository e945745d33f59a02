"""The random streams of a run."""

from __future__ import annotations

from sharpscope.seeding import Stream
from sharpscope.spec import Run


def initial_stream(run: Run) -> Stream:
    """Return the stream that the weights of a run begin with."""
    return Stream(run.seed, "init")


def training_stream(run: Run) -> Stream:
    """Return the stream that a run is trained with; labels of its own, where it has them, are of it too."""
    return Stream(run.seed, "training")
