"""What a pass knows of one batch, and what a sum over samples is that it feeds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.passes.head import HeadFinder
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDefined


class Need(enum.Flag):
    """What a reduction needs of the evaluation of a batch."""

    NOTHING = 0
    OUTPUTS = enum.auto()
    FEATURES = enum.auto()
    RADIAL = enum.auto()
    GRADIENT = enum.auto()
    GRAPH = enum.auto()
    DERIVATIVES = enum.auto()


@dataclass
class Evaluation:
    """What a pass knows of one batch.

    Attributes:
        risk: The risk evaluated.
        batch: The samples.
        outputs: ``[B, C]`` in float64.
        targets: ``[B]``, where the outputs are.
        losses: ``[B]`` in float64.
        features: phi ``[B, D]``, the input of the head, if a reduction needs it.
        head: The head's finder, which knows its weight.
        refused: Why what was needed is not there, by the need.
        radial: <theta, grad l_n>, shape ``[B]``, by the part of the model it stems from.
        radial_route: How those were computed.
        gradient: The sum of the samples' gradients, by parameter.
        kept: The graph of the batch, if a reduction needs it.
        differentiated: Whether the outputs were computed with gradients on.
    """

    risk: Risk
    batch: Batch
    outputs: Tensor
    targets: Tensor
    losses: Tensor
    features: Tensor | None = None
    head: HeadFinder | None = None
    refused: dict[Need, NotDefined] = field(default_factory=dict)
    radial: dict[str, Tensor] = field(default_factory=dict)
    radial_route: str = ""
    gradient: Parameters = field(default_factory=dict)
    kept: Graph | None = None
    differentiated: bool = False

    @property
    def graph(self) -> Graph:
        """The graph of the batch, for reductions that declared to need it."""
        assert self.kept is not None, "the reduction does not declare Need.GRAPH"
        return self.kept


class Reduction(Protocol):
    """A sum over samples, fed batch by batch; what it keeps does not grow with the number of samples."""

    needs: Need

    def update(self, evaluation: Evaluation) -> None:
        """Take the samples of one batch in."""


@runtime_checkable
class Additive(Reduction, Protocol):
    """A reduction that is made of sums over samples, so that those of some samples can be taken out again."""

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become what the samples of ``whole`` give that are not in ``part``; both ran over the same model."""


class LossSum:
    """The mean loss; every pass has one, to see that all passes evaluate the same risk."""

    needs = Need.OUTPUTS
    any_order = True

    def __init__(self) -> None:
        self.total = 0.0

    def update(self, evaluation: Evaluation) -> None:
        """Add the losses of a batch."""
        self.total += float(evaluation.losses.sum())
