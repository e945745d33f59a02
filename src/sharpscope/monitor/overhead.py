"""What measuring costs a training, in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter

import torch

from sharpscope.errors import SharpscopeError


class Overhead:
    """Seconds spent measuring, and their share of the time since the first step.

    Args:
        most: The share that no measurement may lead beyond; no limit when None.

    Attributes:
        spent: Seconds of all measurements.
        latest: Seconds of the latest one.
    """

    def __init__(self, most: float | None = None) -> None:
        if most is not None and not (isinstance(most, int | float) and 0 < most < 1):
            raise SharpscopeError(f"max_overhead must be a number between 0 and 1, such as 0.05, got {most!r}")
        self._most = most
        self.spent = 0.0
        self.latest = 0.0
        self._before = 0.0
        self._began: float | None = None
        self._seen = 0.0

    def look(self) -> None:
        """Take note of the time; the first look starts the clock."""
        self._seen = perf_counter()
        if self._began is None:
            self._began = self._seen

    @contextlib.contextmanager
    def measuring(self, device: torch.device) -> Iterator[None]:
        """Count the time of a block as spent measuring."""
        # Work of the training that waits on an accelerator is none of the measurement's time.
        _synchronize(device)
        started = perf_counter()
        try:
            yield
            _synchronize(device)
        finally:
            self.latest = perf_counter() - started
            self.spent += self.latest
            self.look()

    @property
    def elapsed(self) -> float:
        """Seconds between the first look and the last, measurements among them."""
        return self._before + (0.0 if self._began is None else self._seen - self._began)

    @property
    def share(self) -> float:
        """The share of the elapsed time that was spent measuring, from 0 to 1."""
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    def affords_another(self) -> bool:
        """Tell whether the share stays within its limit if one more measurement takes as long as the latest."""
        if self._most is None:
            return True
        return self.spent + self.latest <= self._most * (self.elapsed + self.latest)

    def state_dict(self) -> dict[str, float]:
        """Return the times so far."""
        return {"spent": self.spent, "latest": self.latest, "elapsed": self.elapsed}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there: the time in between, when nothing ran, does not count."""
        self.spent, self.latest, self._before = state["spent"], state["latest"], state["elapsed"]
        self._began = None


def _synchronize(device: torch.device) -> None:
    if device.type not in {"cpu", "meta"}:  # where nothing runs beside this thread
        torch.accelerator.synchronize(device)
