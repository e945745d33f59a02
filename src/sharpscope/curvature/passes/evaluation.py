"""What a pass knows of one batch, and what a sum over samples is that it feeds."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.passes.head import HeadFinder
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch


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
        refused: What was raised in the place of what is not there, by the need.
        radial: <theta, grad l_n>, shape ``[B]``, by the part of the model it stems from.
        radial_route: How those were computed.
        gradient: The sum of the samples' gradients, by parameter.
        kept: The graph of the batch, if a reduction needs it.
        differentiated: Whether the outputs were computed with gradients on.
        shared: What a reduction has computed of the batch that others need too, by a key of theirs.
    """

    risk: Risk
    batch: Batch
    outputs: Tensor
    targets: Tensor
    losses: Tensor
    features: Tensor | None = None
    head: HeadFinder | None = None
    refused: dict[Need, BaseException] = field(default_factory=dict)
    radial: dict[str, Tensor] = field(default_factory=dict)
    radial_route: str = ""
    gradient: Parameters = field(default_factory=dict)
    kept: Graph | None = None
    differentiated: bool = False
    shared: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The graph of the batch, for reductions that declared to need it."""
        assert self.kept is not None, "the reduction does not declare Need.GRAPH"
        return self.kept


class Reduction(ABC):
    """A sum over samples, fed batch by batch; what it keeps does not grow with the number of samples.

    Attributes:
        any_order: Whether batches may come in another order than that of the data, so that those whose graphs are kept
            in memory come first; for what needs nothing but outputs and graphs.
    """

    any_order: bool = False

    @property
    @abstractmethod
    def needs(self) -> Need:
        """What is read of the evaluation of a batch; a class attribute, or set when the reduction is made."""

    @abstractmethod
    def update(self, evaluation: Evaluation) -> None:
        """Take the samples of one batch in."""

    def follow(self, other: Reduction) -> bool:
        """Take the result of another reduction instead of being fed, if it is the same; tell whether it is.

        Args:
            other: A reduction that the same pass feeds.
        """
        return False


class Additive(Reduction):
    """A reduction that is made of sums over samples, so that those of some samples can be taken out again."""

    @abstractmethod
    def rest_of(self, whole: Self, part: Self) -> None:
        """Become what the samples of ``whole`` give that are not in ``part``; both ran over the same model."""
