"""Passes over the data: one evaluation of every batch serves all reductions that ask for it.

A measure never loops over data. It asks for reductions; all reductions that measures ask for at the same time are
served by one pass, which does the most expensive thing any of them needs and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sharpscope.curvature.passes.evaluation import Evaluation, LossSum, Need, Reduction
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.passes.head import HeadFinder
from sharpscope.curvature.passes.kept_graphs import KeptGraphs
from sharpscope.curvature.passes.logits import check_logits
from sharpscope.curvature.passes.radial import RadialRoute, gradient_of, output_gradient
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch, same_numbers
from sharpscope.errors import HeadNotFound, NotDefined, NotDeterministic

# What has no value where the model has no derivatives in its parameters; the last is taken by the reduction itself.
_DIFFERENTIATED = Need.RADIAL | Need.GRADIENT | Need.GRAPH | Need.DERIVATIVES


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
