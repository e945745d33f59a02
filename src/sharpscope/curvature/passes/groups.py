"""Groups of a fixed number of samples, whatever the batches: for measures that are means over groups."""

from __future__ import annotations

import math
from collections.abc import Callable

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.passes.evaluation import Evaluation, Need, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch


class Groups(Reduction):
    """An estimate of every group of m consecutive samples, in the order in which the data comes.

    Samples are held back until m of them are there, so a group may straddle batches, and the cut into batches makes no
    difference. Within a group they are evaluated in pieces no larger than the batches they came in, which bounds the
    memory of an evaluation; m samples are held.

    Args:
        size: m; the last group has what is left.
        function: Estimates one group from its risk, which has a random stream of its own.
    """

    needs = Need.NOTHING

    def __init__(self, size: int, function: Callable[[Risk], Estimate]) -> None:
        self._size = size
        self._function = function
        self._held: list[Batch] = []
        self._risk: Risk | None = None
        self.estimates: list[Estimate] = []

    def update(self, evaluation: Evaluation) -> None:
        """Take a batch in, and estimate each group that it completes."""
        self._risk = evaluation.risk
        rest = evaluation.batch
        while rest.size:
            room = self._size - sum(piece.size for piece in self._held)
            self._held.append(rest.take(slice(0, room)))
            rest = rest.take(slice(room, None))
            if sum(piece.size for piece in self._held) == self._size:
                self._estimate()

    def finish(self) -> None:
        """Estimate the last group, if samples are left; call it after the pass."""
        if self._held:
            self._estimate()

    @property
    def mean(self) -> float:
        """The mean of the values, each group weighted by its number of samples."""
        return sum(e.value * e.samples for e in self.estimates) / sum(e.samples for e in self.estimates)

    @property
    def stderr(self) -> float:
        """The standard error of the mean, from those of the groups, which are taken for independent."""
        return math.hypot(*(e.stderr * e.samples for e in self.estimates)) / sum(e.samples for e in self.estimates)

    def _estimate(self) -> None:
        assert self._risk is not None
        pieces, self._held = self._held, []
        self.estimates.append(self._function(self._risk.on(pieces, "group", len(self.estimates))))
