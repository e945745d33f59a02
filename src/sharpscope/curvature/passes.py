"""Passes over the data: one evaluation of every batch serves all reductions that ask for it.

A measure never loops over data. It asks for reductions; all reductions that measures ask for at the same time are
served by one pass, which does the most expensive thing any of them needs and no more.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from sharpscope.curvature.batches import Batch, same_numbers
from sharpscope.curvature.graph import Graph
from sharpscope.curvature.head import HeadFinder
from sharpscope.curvature.logits import check_logits
from sharpscope.curvature.radial import RadialRoute, gradient_of, output_gradient
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.errors import HeadNotFound, NotDefined, NotDeterministic


class Need(enum.Flag):
    """What a reduction needs of the evaluation of a batch."""

    NOTHING = 0
    OUTPUTS = enum.auto()
    FEATURES = enum.auto()
    RADIAL = enum.auto()
    GRADIENT = enum.auto()
    GRAPH = enum.auto()
    DERIVATIVES = enum.auto()


# What graphs that are kept from one pass to the next may take of memory together, in bytes.
KEPT_BYTES = 2**28
# What has no value where the model has no derivatives in its parameters; the last is taken by the reduction itself.
_DIFFERENTIATED = Need.RADIAL | Need.GRADIENT | Need.GRAPH | Need.DERIVATIVES


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


class _KeptGraphs:
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
        self.held[place] = replace(evaluation, features=None, head=None, radial={}, gradient={})
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


class Evaluator:
    """Evaluates batches of one risk; what it learns of the model at the first batch serves all later passes.

    Memory beside that of the measures: the evaluation of one batch at a time, and at most 256 MB of graphs of other
    batches, which need then not be built at every pass.

    Args:
        risk: The risk, entered as a context by the caller.
    """

    def __init__(self, risk: Risk) -> None:
        self.risk = risk
        self.head = HeadFinder(risk)
        self.radial = RadialRoute(risk)
        self._kept = _KeptGraphs()

    def run(
        self, reductions: Sequence[Reduction], on_refusal: Callable[[Reduction, NotDefined], None] | None = None
    ) -> None:
        """Run one pass over the data that serves all of ``reductions``.

        Args:
            reductions: What is summed.
            on_refusal: Called with a reduction that is not defined here, and why; the others go on. The error is
                raised when None.
        """
        loss = LossSum()
        serving: list[Reduction] = [loss]
        followers: dict[int, list[Reduction]] = {}
        for reduction in reductions:
            follow = getattr(reduction, "follow", None)
            leader = None if follow is None else next(filter(follow, serving), None)
            if leader is None:
                serving.append(reduction)
            else:
                followers.setdefault(id(leader), []).append(reduction)
        for evaluation in self._evaluations(serving):
            for reduction in tuple(serving):
                try:
                    for need, refusal in evaluation.refused.items():
                        if need in reduction.needs:
                            raise refusal
                    reduction.update(evaluation)
                except NotDefined as error:
                    if on_refusal is None:
                        raise
                    serving.remove(reduction)
                    for refused in (reduction, *followers.get(id(reduction), ())):
                        on_refusal(refused, error)
            del evaluation  # before the next is made, which may be as large
        self.risk.check_same(loss.total / self.risk.samples)

    def _evaluations(self, serving: Sequence[Reduction]) -> Iterator[Evaluation]:
        """Evaluate every batch; first those whose graphs are left of earlier passes, where the order may change."""
        served: dict[int, Batch] = {}
        if all(getattr(reduction, "any_order", False) for reduction in serving):
            for place in tuple(self._kept.held):
                if (known := self._kept.held.get(place)) is not None:
                    served[place] = known.batch
                    yield known
                    del known
                    self._kept.trim()
        for index, batch in enumerate(self.risk):
            if index in served:
                _check_same(batch, served[index])
                continue
            self._kept.make_room()
            needs = Need.NOTHING
            for reduction in serving:
                needs |= reduction.needs
            evaluation = self._evaluate_laid_out(batch, needs)
            self.risk.check_independent(evaluation.batch, evaluation.outputs, first=index == 0)
            if index == 0:
                check_logits(self.risk, evaluation.batch, evaluation.outputs)
            yield evaluation
            if evaluation.kept is not None and self.risk.ordered and index not in self._kept.held:
                self._kept.keep(index, evaluation)
            del evaluation

    def _evaluate_laid_out(self, batch: Batch, needs: Need) -> Evaluation:
        try:
            return self._evaluate(batch, needs)
        except RuntimeError as error:
            if not self.risk.give_up_layout(error):
                raise
            return self._evaluate(batch.map(self.risk.laid_out), needs)

    def _evaluate(self, batch: Batch, needs: Need) -> Evaluation:
        if needs & _DIFFERENTIATED:
            self.risk.reach.find(self.risk, batch)
            if self.risk.reach.refusal is not None:
                evaluation = self._evaluate(batch, needs & ~_DIFFERENTIATED)
                evaluation.refused |= dict.fromkeys(_DIFFERENTIATED, self.risk.reach.refusal)
                return evaluation
        radial: dict[str, Tensor] = {}
        gradient: Parameters = {}
        differentiate = bool(needs & Need.GRADIENT)
        parameters = self.risk.parameters
        graph: Graph | None = None
        if differentiate:
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        with self.head.watch() as calls:
            if needs & Need.GRAPH and not needs & Need.RADIAL:
                graph = Graph(self.risk, batch)
                outputs = graph.outputs
                if differentiate:
                    seed = output_gradient(self.risk, batch, outputs)
                    gradient = dict(zip(parameters, graph.pull_back(seed, list(parameters)), strict=True))
            elif needs & Need.RADIAL:
                try:
                    outputs, radial, gradient = self.radial.evaluate(batch, parameters, gradient=differentiate)
                except NotDefined as error:
                    evaluation = self._evaluate(batch, needs & ~Need.RADIAL)
                    evaluation.refused[Need.RADIAL] = error
                    return evaluation
            else:
                with torch.set_grad_enabled(differentiate):
                    outputs = self.risk.outputs(batch, parameters)
                if differentiate:
                    gradient = gradient_of(self.risk, batch, outputs, parameters)
        precise = self.risk.exact(outputs)
        targets = batch.targets.to(precise.device)
        losses = self.risk.loss.values(precise, targets)
        evaluation = Evaluation(self.risk, batch, precise, targets, losses, radial=radial, gradient=gradient)
        evaluation.radial_route = self.radial.name
        evaluation.differentiated = bool(needs & (Need.RADIAL | Need.GRADIENT | Need.GRAPH))
        evaluation.kept = graph if graph is not None or not needs & Need.GRAPH else Graph(self.risk, batch)
        if needs & Need.FEATURES:
            try:
                evaluation.features = self.head.features(batch, outputs.detach(), calls, self.risk.parameters)
                evaluation.head = self.head
            except HeadNotFound as error:
                evaluation.refused[Need.FEATURES] = error
        return evaluation


def _check_same(batch: Batch, known: Batch) -> None:
    if not same_numbers((batch.inputs, batch.targets), (known.inputs, known.targets)):
        raise NotDeterministic(
            "a batch of the data differed between two passes; measure on fixed data in a fixed order, without random "
            "augmentation"
        )
