"""What an operator is, and the products of vectors with its matrix, summed over the data.

An operator knows how to multiply vectors by the matrix of one batch; it knows nothing of traces or eigenvalues.
Vectors are rows over the chosen parameters, one after the other: shape ``[k, P]``. All vectors of a pass share the
graph of each batch, so the cost of a product falls with their number.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.operators.space import Space
from sharpscope.curvature.operators.symmetry import Symmetry
from sharpscope.curvature.passes import Evaluation, Need, Reduction


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


class Products(Reduction):
    """The products of some vectors with the matrix of the whole data.

    Args:
        operator: The matrix.
        vectors: ``[k, P]``.

    Attributes:
        samples: How many there were, of all once ``value`` was asked for.
        followed: Whether others take its result.
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
        self.followed = False

    @property
    def follows(self) -> bool:
        """Whether it takes the result of others."""
        return self._twin is not None

    def follow(self, other: Reduction) -> bool:
        """Take the result of other products, if they are the same: trace and Frobenius norm draw the same probes."""
        if not isinstance(other, Products) or other._vectors.shape != self._vectors.shape:
            return False
        mine, theirs = self._operator, other._operator
        same = (mine.name, mine.route, mine.space.names) == (theirs.name, theirs.route, theirs.space.names)
        if same and torch.equal(self._vectors, other._vectors):
            self._twin = other
            other.followed = True
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
