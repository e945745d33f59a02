"""What multiplies by a curvature matrix: the Hessian H and the Gauss-Newton matrix G of the risk.

An operator knows how to multiply vectors by the matrix of one batch; it knows nothing of traces or eigenvalues.
Vectors are rows over the chosen parameters, one after the other: shape ``[k, P]``. All vectors of a pass share the
graph of each batch, so the cost of a product falls with their number.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from sharpscope.curvature.autograd_graph import ONLY_ONCE, functions_behind
from sharpscope.curvature.differences import Differences
from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.radial import tangent
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.second_derivatives import verdict_on
from sharpscope.curvature.symmetry import Symmetry
from sharpscope.errors import NotDefined, SharpscopeError, suggest

# The relative error from which on differences are no replacement for exact products.
_USELESS = 0.5


class Space:
    """The space of some of the parameters, flattened in the order of the model.

    Args:
        risk: The risk whose parameters these are.
        patterns: Which: names, or prefixes of names such as "layer3", or shell patterns such as "*.bias"; None for all.
    """

    def __init__(self, risk: Risk, patterns: str | Iterable[str] | None = None) -> None:
        every = risk.parameters
        self.names = list(every) if patterns is None else _matching(every, patterns)
        self._shapes = [every[name].shape for name in self.names]
        self._sizes = [every[name].numel() for name in self.names]
        first = every[self.names[0]]
        self.dtype, self.device = first.dtype, first.device
        self._laid_out = risk.laid_out

    @property
    def size(self) -> int:
        """P, the dimension."""
        return sum(self._sizes)

    def split(self, vector: Tensor) -> Parameters:
        """Return a vector ``[P]`` as tensors by parameter."""
        parts = vector.split(self._sizes)
        views = (part.view(shape) for part, shape in zip(parts, self._shapes, strict=True))
        return {name: self._laid_out(view) for name, view in zip(self.names, views, strict=True)}

    def join(self, tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """Return tensors in the order of ``names`` as one vector ``[P]``, written to ``out`` if that is given."""
        if out is None:
            out = torch.empty(self.size, dtype=self.dtype, device=self.device)
        for part, shape, tensor in zip(out.split(self._sizes), self._shapes, tensors, strict=True):
            part.view(shape).copy_(tensor.detach())
        return out

    def layers(self) -> dict[str, slice]:
        """Return where the parameters of each module stand in a vector."""
        spans: dict[str, slice] = {}
        start = 0
        for name, size in zip(self.names, self._sizes, strict=True):
            layer = name.rpartition(".")[0] or name
            begin = spans[layer].start if layer in spans else start
            spans[layer] = slice(begin, start + size)
            start += size
        return spans


class Operator(Protocol):
    """A symmetric matrix over a space, as a sum over samples."""

    name: str
    space: Space
    reason: str
    symmetry: Symmetry

    @property
    def error(self) -> float:
        """The relative error of a product."""

    def adopt(self, other: Any) -> None:
        """Take over what another operator for the same matrix has found of its error and route."""

    @property
    def route(self) -> str:
        """How products are computed, for the details of a result."""

    def multiply(self, evaluation: Evaluation, vectors: Tensor) -> Tensor:
        """Return the products of ``[k, P]`` with the matrix of one batch, summed over its samples."""


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
                if not _lacks_second_derivative(error):
                    raise
                self._leave(str(error).split("\n", 1)[0])
        return self._each(evaluation, vectors, self._by_differences)

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
                if not _lacks_second_derivative(error):
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


class Products:
    """The products of some vectors with the matrix of the whole data.

    Args:
        operator: The matrix.
        vectors: ``[k, P]``.
    """

    needs = Need.GRAPH
    any_order = True

    def __init__(self, operator: Operator, vectors: Tensor) -> None:
        self._operator = operator
        self._vectors = vectors
        self._sum: Tensor | None = None
        self._twin: Products | None = None
        self._value: Tensor | None = None
        self.samples = 0

    def follow(self, other: Reduction) -> bool:
        """Take the result of other products, if they are the same: trace and Frobenius norm draw the same probes."""
        if not isinstance(other, Products) or other._vectors.shape != self._vectors.shape:
            return False
        mine, theirs = self._operator, other._operator
        same = (mine.name, mine.route, mine.space.names) == (theirs.name, theirs.route, theirs.space.names)
        if same and torch.equal(self._vectors, other._vectors):
            self._twin = other
        return self._twin is not None

    def update(self, evaluation: Evaluation) -> None:
        """Add the products with the matrix of a batch."""
        products = self._operator.multiply(evaluation, self._vectors)
        self._sum = products if self._sum is None else self._sum.add_(products)
        self.samples += evaluation.batch.size

    @property
    def value(self) -> Tensor:
        """The products with the mean over samples, ``[k, P]``.

        Raises:
            NotDefined: If they are not those of a symmetric matrix.
        """
        if self._twin is not None:
            self.samples = self._twin.samples
            self._operator.adopt(self._twin._operator)
            return self._twin.value
        if self._value is None:
            assert self._sum is not None, "no pass has fed the products"
            self._value = self._sum.div_(self.samples)
            # Differences that were asked for, and not fallen back to, state an error of their own: across kinks they
            # are not symmetric, whatever the model.
            if self._operator.reason or not self._operator.error:
                self._operator.symmetry.check(self._vectors, self._value, error=self._operator.error)
        return self._value


def of_products(operator: Operator, estimate: Estimate) -> Estimate:
    """Return an estimate with how its products were computed, and the error of inexact ones joined to its own."""
    details = {**estimate.details, "route": operator.route}
    if operator.reason:
        details["route_reason"] = operator.reason
    if operator.error:
        details["product_error"] = operator.error
    stderr = math.hypot(estimate.stderr, operator.error * abs(estimate.value))
    return replace(estimate, stderr=stderr, details=details)


def _matching(names: Iterable[str], patterns: str | Iterable[str]) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    known = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = {n for n in known if n == pattern or n.startswith(f"{pattern}.") or fnmatch.fnmatchcase(n, pattern)}
        if not found:
            raise SharpscopeError(f"no parameter is called, or lies within, '{pattern}'{suggest(pattern, known)}")
        chosen |= found
    return [name for name in known if name in chosen]


def _lacks_second_derivative(error: Exception) -> bool:
    message = str(error)
    return "derivative for" in message or "not implemented" in message or "double backward" in message.lower()
