"""What multiplies by the Gauss-Newton matrix G of the risk."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sharpscope.curvature.autograd.functions import ONLY_ONCE, functions_behind, lacks_second_derivative
from sharpscope.curvature.operators.space import Space
from sharpscope.curvature.operators.symmetry import Symmetry
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.passes.radial import tangent
from sharpscope.errors import NotDefined


class GaussNewton:
    """The generalized Gauss-Newton matrix ``E[J^T A J]``, A the Hessian of the loss in the outputs.

    For cross-entropy it is the Fisher information with labels drawn from the model. Each product is a derivative of the
    outputs along the vector and one backward pass. The derivative is that of ``J^T u`` in u, whose graph is built once
    a batch and kept for all vectors; where an operation has no second derivative, or a wrong one, forward mode takes
    its place. In convolutions a product costs 4/3 gradients beside the graphs.

    Args:
        space: The parameters.

    Attributes:
        reason: Why forward mode took the place of kept graphs.
    """

    name = "ggn"
    error = 0.0

    def __init__(self, space: Space) -> None:
        self.space = space
        self.symmetry = Symmetry()
        self._kept = True
        self._traced = False
        self.reason = ""

    @property
    def route(self) -> str:
        """The route taken, which falls back to forward mode where kept graphs cannot serve."""
        return "double_backward" if self._kept else "forward_mode_and_backward"

    def adopt(self, other: GaussNewton) -> None:
        """Take over what another operator for the same matrix has found of its route."""
        self._kept, self.reason = other._kept, other.reason

    def multiply(self, evaluation: Evaluation, vectors: Tensor) -> Tensor:
        """Return G v for every row v, summed over the samples of the batch.

        Raises:
            NotDefined: If derivatives along a direction do not fit those of the backward pass by any route.
        """
        if self._kept:
            try:
                products, sound = self._multiplied(evaluation, vectors)
                reason = "" if sound else "the second derivative of an operation is wrong"
            except (RuntimeError, NotImplementedError) as error:
                if not lacks_second_derivative(error):
                    raise
                reason = str(error).split("\n", 1)[0]
            if not reason:
                return products
            self._kept, self.reason = False, reason
        products, sound = self._multiplied(evaluation, vectors)
        if not sound:
            raise NotDefined(
                "the model's outputs do not change along a direction as its backward pass says (an operation with a "
                "backward of its own, torch.no_grad or detach?), so there is no Gauss-Newton matrix; differentiate "
                "operations by autograd to measure it"
            )
        return products

    def has_trace_of_rows(self, evaluation: Evaluation) -> bool:
        """Tell whether the trace is that of weighted rows, which it is wherever there is such a matrix.

        Raises:
            NotDefined: If there is none, as a product with a few samples shows.
        """
        risk, few = evaluation.risk, evaluation.risk.reach.few(evaluation.batch)
        part = slice(0, few.size)
        outputs, targets, losses = evaluation.outputs[part], evaluation.targets[part], evaluation.losses[part]
        seen = replace(evaluation, batch=few, outputs=outputs, targets=targets, losses=losses, kept=Graph(risk, few))
        generator = risk.stream.child(self.name, "rows").torch(self.space.device)
        vector = torch.randn(1, self.space.size, generator=generator, dtype=self.space.dtype, device=self.space.device)
        self.multiply(seen, vector)
        return True

    def _multiplied(self, evaluation: Evaluation, vectors: Tensor) -> tuple[Tensor, bool]:
        graph, risk = evaluation.graph, evaluation.risk
        products = torch.empty_like(vectors)
        sound = True
        for index, vector in enumerate(vectors):
            pushed = risk.exact(self._push(evaluation, vector))
            curved = risk.loss.hessian_product(evaluation.outputs, evaluation.targets, pushed)
            product = self.space.join(graph.pull_back(curved, self.space.names), out=products[index])
            if index == 0:
                sound = _adjoint(vector, product, curved, pushed)
            if not sound:
                break
        return products, sound

    def _push(self, evaluation: Evaluation, vector: Tensor) -> Tensor:
        """Return J v, ``[B, C]``."""
        if not self._kept:
            return tangent(evaluation.risk, evaluation.batch, self.space.split(vector))[1]
        cotangents, pulled = evaluation.graph.pulled(self.space.names)
        if not self._traced:
            self._traced = True
            if ONLY_ONCE in functions_behind(pulled):
                raise NotImplementedError("the second derivative of an operation is not implemented")
        parts = zip(pulled, self.space.split(vector).values(), strict=True)
        live = [(z, v) for z, v in parts if z.requires_grad]
        if not live:
            return torch.zeros_like(cotangents)
        outputs, seeds = zip(*live, strict=True)
        (pushed,) = torch.autograd.grad(outputs, cotangents, seeds, retain_graph=True, materialize_grads=True)
        return pushed


def _adjoint(vector: Tensor, product: Tensor, curved: Tensor, pushed: Tensor) -> bool:
    """Tell whether J^T and J belong together: v (J^T A J v) is (A J v) (J v)."""
    one, other = float(vector @ product), float((curved * pushed).sum())
    # Rounding of the product's entries is relative to its length, that of tensor cores to the value.
    rounding = 100 * torch.finfo(vector.dtype).eps * float(vector.norm() * product.norm())
    # What is not finite contradicts nothing: the values of a diverged model are not finite either.
    return not abs(one - other) > 1e-2 * abs(other) + rounding
