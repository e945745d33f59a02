"""What multiplies by the Hessian H of the risk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sharpscope.curvature.autograd.functions import ONLY_ONCE, functions_behind, lacks_second_derivative
from sharpscope.curvature.autograd.linearity import is_piecewise_linear
from sharpscope.curvature.operators.differences import Differences
from sharpscope.curvature.operators.second_derivatives import verdict_on
from sharpscope.curvature.operators.space import Space
from sharpscope.curvature.operators.symmetry import Symmetry
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.passes.sample_jacobians import UseRecorder
from sharpscope.curvature.risk import Parameters
from sharpscope.errors import NotDefined

# The relative error from which on differences are no replacement for exact products.
_USELESS = 0.5


class Hessian:
    """The Hessian of the risk.

    Exact products differentiate the gradient along a vector by a second backward pass; the graph of the gradient is
    built once a batch and kept for all vectors. In convolutions a product costs 2 gradients beside that graph, and the
    graph 2/3 of one, or 1 where BatchNorm follows. Where an operation cannot be differentiated twice, where its second
    derivative turns out to be wrong, or when asked to, central differences of gradients take their place, with an
    error.

    Args:
        space: The parameters.
        route: "exact", or "differences".

    Attributes:
        reason: Why differences took the place of exact products, or why these could not be checked.
        symmetry: Whether products are those of a symmetric matrix.
    """

    name = "hessian"

    def __init__(self, space: Space, route: str = "exact") -> None:
        self.space = space
        self._route = route
        self._checked = False
        self._differences = Differences()
        self.reason = ""
        self.symmetry = Symmetry()

    @property
    def route(self) -> str:
        """The route taken, which falls back to differences where exact products do not exist or are wrong."""
        return "double_backward" if self._route == "exact" else "central_differences"

    @property
    def error(self) -> float:
        """The relative error of a product, 0.0 where products are exact."""
        return self._differences.error

    def adopt(self, other: Hessian) -> None:
        """Take over what another operator for the same matrix has found of its error and route."""
        self._differences.error, self.reason, self._route = other.error, other.reason, other._route

    def multiply(self, evaluation: Evaluation, vectors: Tensor) -> Tensor:
        """Return H v for every row v, summed over the samples of the batch.

        Raises:
            NotDefined: If neither second derivatives nor differences of gradients are any good.
        """
        if self._route == "exact":
            try:
                self._check(evaluation)
                if self._route == "exact":
                    return self._each(evaluation, vectors, self._exact)
            except (RuntimeError, NotImplementedError) as error:
                if not lacks_second_derivative(error):
                    raise
                self._leave(str(error).split("\n", 1)[0])
        return self._each(evaluation, vectors, self._by_differences)

    def has_trace_of_rows(self, evaluation: Evaluation) -> bool:
        """Tell whether the trace is that of the Gauss-Newton matrix, where the second derivatives are right.

        It is where the outputs are piecewise linear in every single parameter, so that their own second derivatives
        have nothing on the diagonal: each parameter has one use, by an operation linear in it, and what follows is
        piecewise linear. Kinks do not count, as they do not in second derivatives by autograd.
        """
        if self._route != "exact":
            return False
        risk = evaluation.risk
        few = risk.reach.few(evaluation.batch)
        recorder = UseRecorder(risk.parameters, few.size, self.space.names)
        outputs = recorder.run(risk, few)
        uses = Counter(name for use in recorder.uses for name in use.operation.parameters)
        if any(uses[name] > 1 for name in self.space.names) or not is_piecewise_linear(outputs):
            return False
        return not verdict_on(risk, evaluation.batch, self.space.names).reason

    def _each(
        self, evaluation: Evaluation, vectors: Tensor, product: Callable[[Evaluation, Parameters], Sequence[Tensor]]
    ) -> Tensor:
        images = torch.empty_like(vectors)
        for vector, image in zip(vectors, images, strict=True):
            self.space.join(product(evaluation, self.space.split(vector)), out=image)
        return images

    def _check(self, evaluation: Evaluation) -> None:
        """Find out at the first batch whether there are second derivatives, and whether they are right."""
        if self._checked:
            return
        if ONLY_ONCE in functions_behind(evaluation.graph.gradient(self.space.names)):
            raise NotImplementedError("the second derivative of an operation is not implemented")
        verdict = verdict_on(evaluation.risk, evaluation.batch, self.space.names)
        self._checked, self.reason = True, verdict.reason
        if verdict.wrong:
            self._leave(verdict.reason)

    def _leave(self, reason: str) -> None:
        self._route, self.reason = "differences", reason
        self._differences = Differences(precise=True)

    def _exact(self, evaluation: Evaluation, direction: Parameters) -> Sequence[Tensor]:
        return evaluation.graph.product(self.space.names, list(direction.values()))

    def _by_differences(self, evaluation: Evaluation, direction: Parameters) -> Sequence[Tensor]:
        found = self._differences.product(evaluation.risk, evaluation.batch, direction)
        if self.reason and self.error > _USELESS:
            raise NotDefined(
                f"there are no second derivatives to rely on ({self.reason}), and differences of gradients change by "
                f"{100 * self.error:.0f}% when their step is doubled"
            )
        return list(found.values())
