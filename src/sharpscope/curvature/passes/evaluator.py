"""Passes over the data: one evaluation of every batch serves all reductions that ask for it.

A measure never loops over data. It asks for reductions; all reductions that measures ask for at the same time are
served by one pass, which does the most expensive thing any of them needs and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import torch
from torch import Tensor

from sharpscope.curvature.passes.evaluation import Evaluation, Need
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.passes.head import Call, HeadFinder
from sharpscope.curvature.passes.kept_graphs import KeptGraphs
from sharpscope.curvature.passes.logits import check_logits
from sharpscope.curvature.passes.radial import RadialRoute, gradient_of, output_gradient
from sharpscope.curvature.passes.serving import OnFailure, Requests, Serving
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch, same_numbers
from sharpscope.errors import FAULTS, NotDefined, NotDeterministic, let_go

# How a batch is evaluated: in the first of these ways that is asked for, which serves the others as far as it can.
_WAYS = (Need.RADIAL, Need.GRAPH, Need.GRADIENT)
# What has no value where the model has no derivatives in its parameters; the last is taken by the reduction itself.
_DIFFERENTIATED = Need.RADIAL | Need.GRADIENT | Need.GRAPH | Need.DERIVATIVES


@dataclass
class _Found:
    """What one evaluation of a batch gives; see ``Evaluation``."""

    outputs: Tensor
    radial: dict[str, Tensor] = field(default_factory=dict)
    gradient: Parameters = field(default_factory=dict)
    graph: Graph | None = None


def _raise(key: str, error: BaseException) -> NoReturn:
    raise error


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
        self._kept = KeptGraphs()

    def run(self, requests: Requests, on_failure: OnFailure = _raise) -> None:
        """Run one pass over the data that serves all requests; a pass that no one waits for any longer ends early.

        Args:
            requests: What is summed, by a key of who asked for it.
            on_failure: Called with the key of one whose reductions failed, or what they need, and what was raised; the
                others go on. It is raised by default.

        Raises:
            Exception: What fails the pass itself, for which none of those who asked is to blame.
        """
        serving, total = Serving(requests, on_failure), 0.0
        if serving.is_in_vain():
            return
        for evaluation in self._evaluations(serving):
            total += float(evaluation.losses.sum())
            serving.feed(evaluation)
            del evaluation  # before the next is made, which may be as large
            if serving.is_in_vain():
                return
        # Every pass has the mean loss, to see that all passes evaluate the same risk.
        self.risk.check_same(total / self.risk.samples)

    def _evaluations(self, serving: Serving) -> Iterator[Evaluation]:
        """Evaluate every batch; first those whose graphs are left of earlier passes, where the order may change."""
        served: dict[int, Batch] = {}
        if serving.any_order:
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
            evaluation = self._evaluate_laid_out(batch, serving.needs)
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
        """Evaluate a batch; what cannot be had of it is refused to those who need it."""
        if needs & _DIFFERENTIATED:
            try:
                self.risk.reach.find(self.risk, batch)
            except FAULTS as error:
                return self._without(_DIFFERENTIATED, error, batch, needs)
            if self.risk.reach.refusal is not None:
                return self._without(_DIFFERENTIATED, self.risk.reach.refusal, batch, needs)
        way = next((need for need in _WAYS if need in needs), Need.NOTHING)
        try:
            with self.head.watch() as calls:
                found = self._by(way, batch, gradient=Need.GRADIENT in needs)
        except FAULTS as error:
            if way is Need.NOTHING:
                raise
            return self._without(way, error, batch, needs)
        if Need.GRAPH in needs and found.graph is None:
            try:
                found.graph = Graph(self.risk, batch)
            except FAULTS as error:
                return self._without(Need.GRAPH, error, batch, needs)
        precise = self.risk.exact(found.outputs)
        targets = batch.targets.to(precise.device)
        losses = self.risk.loss.values(precise, targets)
        evaluation = Evaluation(
            self.risk, batch, precise, targets, losses, radial=found.radial, gradient=found.gradient, kept=found.graph
        )
        evaluation.radial_route = self.radial.name
        evaluation.differentiated = way is not Need.NOTHING
        if Need.FEATURES in needs:
            self._add_features(evaluation, found.outputs.detach(), calls)
        return evaluation

    def _add_features(self, evaluation: Evaluation, outputs: Tensor, calls: list[Call]) -> None:
        try:
            evaluation.features = self.head.features(evaluation.batch, outputs, calls, self.risk.parameters)
            evaluation.head = self.head
        except FAULTS as error:
            if self.risk.is_of_layout(error):
                raise
            evaluation.refused[Need.FEATURES] = error

    def _by(self, way: Need, batch: Batch, *, gradient: bool) -> _Found:
        """Evaluate a batch in one of ``_WAYS``, or plainly."""
        parameters = self.risk.parameters
        if gradient:
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        if way is Need.RADIAL:
            return _Found(*self.radial.evaluate(batch, parameters, gradient=gradient))
        if way is Need.GRAPH:
            graph = Graph(self.risk, batch)
            if not gradient:
                return _Found(graph.outputs, graph=graph)
            seed = output_gradient(self.risk, batch, graph.outputs)
            pulled = dict(zip(parameters, graph.pull_back(seed, list(parameters)), strict=True))
            return _Found(graph.outputs, gradient=pulled, graph=graph)
        with torch.set_grad_enabled(gradient):
            outputs = self.risk.outputs(batch, parameters)
        if not gradient:
            return _Found(outputs)
        return _Found(outputs, gradient=gradient_of(self.risk, batch, outputs, parameters))

    def _without(self, lacking: Need, error: BaseException, batch: Batch, needs: Need) -> Evaluation:
        """Evaluate a batch for those who do not need what cannot be had.

        Raises:
            Exception: If it cannot be evaluated without that either, since it is the model then that fails.
        """
        if self.risk.is_of_layout(error):
            raise error
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            let_go(error)
        try:
            evaluation = self._evaluate(batch, needs & ~lacking)
        except FAULTS as other:
            reason = other if isinstance(error, NotDefined) or self.risk.is_of_layout(other) else error
        else:
            evaluation.refused |= dict.fromkeys(lacking, error)
            return evaluation
        raise reason


def _check_same(batch: Batch, known: Batch) -> None:
    if not same_numbers((batch.inputs, batch.targets), (known.inputs, known.targets)):
        raise NotDeterministic(
            "a batch of the data differed between two passes; measure on fixed data in a fixed order, without random "
            "augmentation"
        )
