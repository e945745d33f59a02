"""The trace of a curvature matrix without probes, where the Jacobian rows of the samples give it.

With ``A_n = sum_r w_nr v_nr v_nr^T`` the Hessian of the loss in the outputs of sample n, the Gauss-Newton matrix has
the trace ``E_n sum_r w_nr |v_nr^T J_n|^2``: R backward passes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.operators.products import Operator, Products
from sharpscope.curvature.operators.space import layer_of
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.passes.row_norms import weighted_row_norms
from sharpscope.curvature.passes.sample_jacobians import accounts_for_gradient
from sharpscope.curvature.risk import Parameters

# At most so many backward passes with norms for each product of probes. 24 of them took 0.88 of the time of 32 products
# with the Gauss-Newton matrix, and 0.61 of that of 32 with the Hessian, on resnet8; 64 took half of it on an MLP.
_PASSES_A_PRODUCT = 0.75


class Traceable(Operator, Protocol):
    """A matrix whose trace may be that of the Gauss-Newton matrix."""

    def has_trace_of_rows(self, evaluation: Evaluation) -> bool:
        """Tell, from a few samples, whether the trace is certainly ``E_n sum_r w_nr |v_nr^T J_n|^2``."""


class ExactTrace(Reduction):
    """The trace from Jacobian rows, where that is exact and costs no more than probes; else nothing.

    Args:
        operator: The matrix.
        products: How many products of it probes would take.

    Attributes:
        fits: Whether the trace is computed so; None before the first batch.
        samples: How many it was fed.
    """

    needs = Need.OUTPUTS | Need.DERIVATIVES
    any_order = True

    def __init__(self, operator: Traceable, products: int) -> None:
        self.fits: bool | None = None
        self.samples = 0
        self._operator = operator
        self._most = _PASSES_A_PRODUCT * products
        self._sums: Parameters = {}

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch; the first one decides whether this way is taken."""
        self.samples += evaluation.batch.size
        if self.fits is None:
            # No loss has fewer directions than C - 1, whose matrices would be large for many outputs.
            self.fits = evaluation.outputs.shape[1] - 1 <= self._most and self._is_exact(evaluation)
        if not self.fits:
            return
        names = self._operator.space.names
        key: Hashable = (weighted_row_norms, *names)
        if key not in evaluation.shared:
            along = _directions(evaluation)
            evaluation.shared[key] = weighted_row_norms(evaluation.risk, evaluation.batch, *along, names)
        found = evaluation.shared[key]
        if found is None:
            self.fits = False
            return
        self._sums = {name: self._sums.get(name, 0.0) + square for name, square in found.items()}

    def _is_exact(self, evaluation: Evaluation) -> bool:
        risk, batch = evaluation.risk, evaluation.batch
        directions, _ = _directions(evaluation)
        if directions.shape[1] > self._most or risk.reach.unfit_for_samples(risk, batch) is not None:
            return False
        try:
            if not accounts_for_gradient(risk, risk.reach.few(batch)):
                return False
        except RuntimeError:
            # An operation that function transforms do not know.
            return False
        return self._operator.has_trace_of_rows(evaluation)

    @property
    def estimate(self) -> Estimate:
        """The trace, and in its details those of the blocks of each module's own parameters."""
        blocks = {name: float(square) / self.samples for name, square in self._sums.items()}
        layers: dict[str, dict[str, float]] = {}
        for name, value in blocks.items():
            layer = layers.setdefault(layer_of(name), {"value": 0.0, "stderr": 0.0})
            layer["value"] += value
        # Not math.fsum, which knows no sum of infinities of both signs.
        details = {"layers": layers, "route": "jacobian_rows"}
        return Estimate(sum(blocks.values()), 0.0, self.samples, details=details)


class SpareProducts(Products):
    """Products that are made only where an exact trace, which the same pass feeds before, does without them.

    Args:
        operator: The matrix.
        vectors: ``[k, P]``.
        trace: What makes them superfluous.
    """

    def __init__(self, operator: Operator, vectors: Tensor, trace: ExactTrace) -> None:
        super().__init__(operator, vectors)
        self._trace = trace

    def update(self, evaluation: Evaluation) -> None:
        """Add the products with the matrix of a batch, where they are wanted."""
        if self.followed or not self._trace.fits:
            super().update(evaluation)

    @property
    def whole(self) -> bool:
        """Whether they are those of all samples."""
        return self.follows or self.samples == self._trace.samples


def _directions(evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    key: Hashable = _directions
    if key not in evaluation.shared:
        evaluation.shared[key] = evaluation.risk.loss.curvature_directions(evaluation.outputs, evaluation.targets)
    found: tuple[Tensor, Tensor] = evaluation.shared[key]
    return found
