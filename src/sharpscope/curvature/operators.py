"""What multiplies by a curvature matrix: the Hessian H and the Gauss-Newton matrix G of the risk.

An operator knows how to multiply vectors by the matrix of one batch; it knows nothing of traces or eigenvalues.
Vectors are rows over the chosen parameters, one after the other: shape ``[k, P]``. All vectors of a pass share the
graph of each batch, so the cost of a product falls with their number.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sharpscope.curvature.autograd_graph import ONLY_ONCE, functions_behind
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.radial import gradient_of, tangent
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.errors import SharpscopeError, suggest

# How often the error of differences is looked at; every look costs as much as a product.
_CHECK_EVERY = 16


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

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return tensors in the order of ``names`` as one vector ``[P]``."""
        return torch.cat([t.detach().reshape(-1) for t in tensors])

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

    error: float
    reason: str

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
    graph 2/3 of one, or 1 where BatchNorm follows. Where an operation cannot be differentiated twice, or when asked to,
    central differences of gradients take their place, with an error.

    Args:
        space: The parameters.
        route: "exact", or "differences".

    Attributes:
        error: The relative error of a product, 0.0 where products are exact; of differences, the largest relative
            change seen when the step was doubled.
        reason: Why differences took the place of exact products.
    """

    name = "hessian"

    def __init__(self, space: Space, route: str = "exact") -> None:
        self.space = space
        self._route = route
        self._since_check = 0
        self._traced = False
        self.error = 0.0
        self.reason = ""

    @property
    def route(self) -> str:
        """The route taken, which falls back to differences where exact products do not exist."""
        return "double_backward" if self._route == "exact" else "central_differences"

    def adopt(self, other: Hessian) -> None:
        """Take over what another operator for the same matrix has found of its error and route."""
        self.error, self.reason, self._route = other.error, other.reason, other._route

    def multiply(self, evaluation: Evaluation, vectors: Tensor) -> Tensor:
        """Return H v for every row v, summed over the samples of the batch."""
        if self._route == "exact":
            try:
                return torch.stack([self._exact(evaluation, v) for v in vectors])
            except (RuntimeError, NotImplementedError) as error:
                if not _lacks_second_derivative(error):
                    raise
                self._route, self.reason = "differences", str(error).split("\n", 1)[0]
        return torch.stack([self._differences(evaluation, v) for v in vectors])

    def _exact(self, evaluation: Evaluation, vector: Tensor) -> Tensor:
        graph = evaluation.graph
        gradient = graph.gradient(self.space.names)
        if not self._traced:
            self._traced = True
            if ONLY_ONCE in functions_behind(gradient):
                raise NotImplementedError("the second derivative of an operation is not implemented")
        directions = list(self.space.split(vector).values())
        # An entry of the gradient that does not depend on the parameters, as in a linear loss, has no graph.
        live = [(g, d) for g, d in zip(gradient, directions, strict=True) if g.requires_grad]
        if not live:
            return torch.zeros_like(vector)
        chosen = [graph.parameters[name] for name in self.space.names]
        outputs, seeds = zip(*live, strict=True)
        return self.space.join(torch.autograd.grad(outputs, chosen, seeds, retain_graph=True, materialize_grads=True))

    def _differences(self, evaluation: Evaluation, vector: Tensor) -> Tensor:
        size = float(vector.norm())
        if size == 0:
            return torch.zeros_like(vector)
        parameters = evaluation.risk.parameters
        scale = math.sqrt(sum(float(parameters[n].square().sum()) for n in self.space.names))
        step = torch.finfo(vector.dtype).eps ** (1 / 3) * max(scale, 1.0) / size
        product = self._central_difference(evaluation, vector, step)
        if self._since_check % _CHECK_EVERY == 0:
            # Smooth models differ by a third of the error at twice the step; at the kinks of ReLU by all of it.
            coarser = self._central_difference(evaluation, vector, 2 * step)
            change = float((product - coarser).norm() / product.norm().clamp_min(torch.finfo(vector.dtype).tiny))
            self.error = max(self.error, change)
        self._since_check += 1
        return product

    def _central_difference(self, evaluation: Evaluation, vector: Tensor, step: float) -> Tensor:
        risk, batch = evaluation.risk, evaluation.batch
        sides = []
        for sign in (1, -1):
            moved = dict(risk.parameters)
            for name, d in self.space.split(vector).items():
                moved[name] = moved[name] + sign * step * d
            moved = {name: p.requires_grad_() if name in self.space.names else p for name, p in moved.items()}
            with torch.enable_grad():
                outputs = risk.outputs(batch, moved)
            chosen = {name: moved[name] for name in self.space.names}
            sides.append(self.space.join(list(gradient_of(risk, batch, outputs, chosen).values())))
        return (sides[0] - sides[1]) / (2 * step)


class GaussNewton:
    """The generalized Gauss-Newton matrix ``E[J^T A J]``, A the Hessian of the loss in the outputs.

    For cross-entropy it is the Fisher information with labels drawn from the model. Each product is one derivative
    along the vector in forward mode and one backward pass; no operation is differentiated twice.

    Args:
        space: The parameters.
    """

    name = "ggn"
    route = "forward_mode_and_backward"
    error = 0.0
    reason = ""

    def __init__(self, space: Space) -> None:
        self.space = space

    def adopt(self, other: GaussNewton) -> None:
        """Take over nothing: there is one route, without an error."""

    def multiply(self, evaluation: Evaluation, vectors: Tensor) -> Tensor:
        """Return G v for every row v, summed over the samples of the batch."""
        graph, risk = evaluation.graph, evaluation.risk
        products = []
        for vector in vectors:
            _, pushed = tangent(risk, evaluation.batch, self.space.split(vector))
            curved = risk.loss.hessian_product(evaluation.outputs, evaluation.targets, risk.exact(pushed))
            products.append(self.space.join(graph.pull_back(curved, self.space.names)))
        return torch.stack(products)


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
        self._sum = torch.zeros_like(vectors)
        self._twin: Products | None = None
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
        self._sum += self._operator.multiply(evaluation, self._vectors)
        self.samples += evaluation.batch.size

    @property
    def value(self) -> Tensor:
        """The products with the mean over samples, ``[k, P]``."""
        if self._twin is not None:
            self.samples = self._twin.samples
            self._operator.adopt(self._twin._operator)
            return self._twin.value
        return self._sum / self.samples


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
