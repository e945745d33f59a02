"""Graphs of batches that are kept from one pass over the data to the next, within a bound of memory."""

from __future__ import annotations

import math
from dataclasses import replace

from sharpscope.curvature.passes.evaluation import Evaluation
from sharpscope.curvature.passes.graph import Graph

# What graphs that are kept from one pass to the next may take of memory together, in bytes.
KEPT_BYTES = 2**28


class KeptGraphs:
    """Evaluations whose graphs serve the passes to come: the first that fit into ``KEPT_BYTES``, and the latest.

    Attributes:
        held: By the place of the batch in the data.
    """

    def __init__(self) -> None:
        self.held: dict[int, Evaluation] = {}
        self._latest = -1
        self._full = False
        # What each took when it had so many derivatives.
        self._weighed: dict[int, tuple[int, float]] = {}

    def keep(self, place: int, evaluation: Evaluation) -> None:
        """Take the latest evaluation in, after room was made for it."""
        self.held[place] = replace(evaluation, features=None, head=None, radial={}, gradient={}, refused={})
        self._latest = place

    def make_room(self) -> None:
        """Give up the latest unless it fits in beside the others, since another is to be made."""
        if self._full:  # what does not fit in once is not weighed again at every pass
            self.held.pop(self._latest, None)
        self._latest = -1
        self.trim()

    def trim(self) -> None:
        """Give up what does not fit in, since graphs grow with the derivatives that are taken of them."""
        settled = {place: evaluation.graph for place, evaluation in self.held.items() if place != self._latest}
        for place, graph in settled.items():
            if self._weighed.get(place, (-1, 0.0))[0] != graph.derivatives:
                self._weighed[place] = graph.derivatives, _size_in_memory(graph)
        while settled and sum(self._weighed[place][1] for place in settled) > KEPT_BYTES:
            self._full = True
            place, _ = settled.popitem()
            del self.held[place]


def _size_in_memory(graph: Graph) -> float:
    try:
        return graph.size_in_memory
    except RuntimeError:
        return math.inf  # what was written to since it was kept cannot be weighed
