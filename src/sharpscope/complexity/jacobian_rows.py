"""The Jacobian of outputs in inputs, row by row for each sample, and the few numbers that its norms are made of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpscope.complexity.input_derivatives import InputDerivatives, Names
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.risk.losses import CrossEntropy

# Numbers of the rows of a batch, or of their products, that are held at once, and of rows in double precision.
_HELD = 1 << 25
_PRECISE = 1 << 22


@dataclass(frozen=True)
class RowProducts:
    """Products of the rows of the Jacobian J ``[C, D]`` of each sample's outputs, from which it has its norms.

    Attributes:
        squares: ``|J|_F^2``, shape ``[B]``.
        vertex: The class v whose row is taken from all others, shape ``[B]``: the most probable one, so that nothing
            cancels where it has nearly all of the probability.
        products: ``<J_c - J_v, J_k - J_v>``, shape ``[B, C, C]``.
    """

    squares: Tensor
    vertex: Tensor
    products: Tensor

    @classmethod
    def of(cls, rows: Tensor, vertex: Tensor, dtype: torch.dtype) -> RowProducts:
        """Return them for rows ``[C, B, D]``, with sums in ``dtype``."""
        chunk = max(1, _PRECISE // rows[:, 0].numel())
        squares, products = [], []
        for some, at in zip(rows.split(chunk, dim=1), vertex.split(chunk), strict=True):
            precise = some.transpose(0, 1).to(dtype)
            squares.append(precise.square().sum(dim=(1, 2)))
            away = precise - precise[torch.arange(len(at), device=at.device), at][:, None]
            products.append(away @ away.mT)
        return cls(torch.cat(squares), vertex, torch.cat(products))

    @property
    def size(self) -> int:
        """Numbers that it is made of."""
        return self.squares.numel() + self.vertex.numel() + self.products.numel()

    def divided(self, temperature: float) -> RowProducts:
        """Return the products for the outputs divided by a temperature."""
        scale = temperature * temperature
        return RowProducts(self.squares / scale, self.vertex, self.products / scale)

    def squares_of_probabilities(self, outputs: Tensor) -> Tensor:
        """Return ``|(diag(p) - p p^T) J|_F^2`` of the softmax p of outputs ``[B, C]``: shape ``[B]``.

        Row c is ``p_c (J_c - sum_k p_k J_k)``, which is a sum of the differences to row v.
        """
        p = outputs.softmax(dim=1).to(self.products)
        away = CrossEntropy().gradient(outputs, self.vertex.to(outputs.device)).to(self.products)
        weights = torch.eye(p.shape[1]).to(p) - away[:, None, :]
        rows = ((weights @ self.products) * weights).sum(dim=2).clamp_min(0)
        return (p.square() * rows).sum(dim=1)


def row_products(evaluation: Evaluation, inputs: Names, start: int) -> RowProducts | None:
    """Return the products of a batch, computed once for all who ask, and for the twins of the model.

    Args:
        evaluation: The batch.
        inputs: Which inputs are differentiated; all when None.
        start: How many samples came before.

    Returns:
        The products; None if the rows have too many numbers to be held at once.

    Raises:
        NotDefined: If no input is floating-point, or a gradient does not reach one that the outputs change with.
    """
    key: Hashable = ("row_products", None if inputs is None else tuple(inputs), start, evaluation.batch.size)
    if key not in evaluation.shared:
        memory = evaluation.risk.twins
        found = memory.find(key, RowProducts) if memory is not None else None
        found = found if found is not None else _computed(evaluation, inputs)
        if memory is not None and found is not None:
            memory.keep(key, found)
        evaluation.shared[key] = found
    return evaluation.shared[key]


def _computed(evaluation: Evaluation, inputs: Names) -> RowProducts | None:
    outputs = evaluation.outputs
    derivatives = InputDerivatives(evaluation, inputs)
    if outputs.shape[1] * max(outputs.numel(), sum(leaf.numel() for leaf in derivatives.leaves)) > _HELD:
        return None
    unit = torch.eye(outputs.shape[1]).to(outputs)
    pulled = [derivatives.pull(direction.expand_as(outputs)) for direction in unit]
    rows = torch.stack([torch.cat([gradient.flatten(1) for gradient in row], dim=1) for row in pulled])
    return RowProducts.of(rows, outputs.argmax(dim=1).to(rows.device), evaluation.risk.precise)
