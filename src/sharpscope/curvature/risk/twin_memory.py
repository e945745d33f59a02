"""What is kept of a model for its twins: the same model with its outputs divided by a temperature."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Protocol, Self, TypeVar

# Numbers that are kept at most.
_ROOM = 1 << 23


class Divisible(Protocol):
    """Something that was computed of the outputs of samples, and is known for their multiples too."""

    @property
    def size(self) -> int:
        """Numbers that it is made of."""

    def divided(self, temperature: float) -> Self:
        """Return the same of the outputs divided by a temperature."""


D = TypeVar("D", bound=Divisible)


class TwinMemory:
    """What measures of a model keep for those of its twins, which else would compute it once more.

    Whoever measures a model and its twins on the same samples in the same order gives one memory to the model's risk,
    and what ``of_twin`` returns to that of each twin.

    Attributes:
        temperature: What the outputs of a twin are divided by; None for the model itself.
    """

    def __init__(self) -> None:
        self.temperature: float | None = None
        self._kept: dict[Hashable, Divisible] = {}

    def of_twin(self, temperature: float) -> TwinMemory:
        """Return the same memory as a twin reads it."""
        other = copy.copy(self)
        other.temperature = temperature
        return other

    def keep(self, key: Hashable, found: Divisible) -> None:
        """Keep something of the model itself, as far as there is room."""
        if self.temperature is None and found.size + sum(other.size for other in self._kept.values()) <= _ROOM:
            self._kept[key] = found

    def find(self, key: Hashable, kind: type[D]) -> D | None:
        """Return, for a twin, what was kept of the model, as it is of the twin; None if nothing was."""
        found = self._kept.get(key)
        if self.temperature is None or not isinstance(found, kind):
            return None
        return found.divided(self.temperature)
