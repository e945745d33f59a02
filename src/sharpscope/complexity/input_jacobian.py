"""Sensitivity of the learned function to its input: the Jacobian norm and the geometric complexity."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from sharpscope.complexity.input_derivatives import InputDerivatives, Names, power_sums
from sharpscope.complexity.jacobian_rows import row_products
from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.losses import CrossEntropy
from sharpscope.errors import NotDefined
from sharpscope.seeding import Stream

Method = Literal["auto", "exact", "projection"]
Projections = Annotated[int, Field(ge=2)]

# Up to so many outputs, one backward pass for each is about as cheap as projections, and exact.
_EXACT_UP_TO = 16
_INVARIANT = frozenset({"LW", "NW", "b+c", "W+1u", "BN"})
_COST = "C + 2 forward passes exactly (C outputs, two each backward pass); 2 projections + 2 by projections"


def _is_exact(options: Mapping[str, Any], outputs: int) -> bool:
    chosen = options["method"] == "exact" or (options["method"] == "auto" and outputs <= _EXACT_UP_TO)
    return chosen or options["projections"] >= outputs


class JacobianNorms(Reduction):
    """The mean over samples of ``|J|_F^2`` or ``|J|_F``, J the Jacobian of outputs or probabilities in the input.

    The rows of J are pulled along K orthonormal directions of output space: all C unit vectors (exact), or the first K
    of a random rotation, drawn for each sample. Then ``(C / K) sum_k |J^T q_k|^2`` is unbiased for the square. Its root
    is biased low; the jackknife for draws without replacement takes the leading term away.

    Args:
        function: Whose Jacobian: "logits" or "probabilities".
        root: Average ``|J|_F``, not its square.
        method: "exact", "projection", or "auto".
        projections: K where not exact.
        stream: Where the rotations are drawn from, in the order of the samples.
        inputs: Which inputs are differentiated; all when None.
    """

    needs = Need.OUTPUTS

    def __init__(
        self, *, function: str, root: bool, method: Method, projections: int, stream: Stream, inputs: Names = None
    ) -> None:
        self.samples = 0
        self.directions = 0
        self.exact = True
        self._function = function
        self._root = root
        self._inputs = inputs
        self._method = method
        self._projections = projections
        self._generator = stream.numpy()
        self._sum = 0.0
        self._variance = 0.0

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        outputs = evaluation.outputs
        classes = outputs.shape[1]
        if self._function == "probabilities" and classes < 2:
            raise NotDefined("class probabilities need at least two outputs, got one; choose outputs='logits'")
        self.exact = _is_exact({"method": self._method, "projections": self._projections}, classes)
        self.directions = classes if self.exact else self._projections
        products = row_products(evaluation, self._inputs, self.samples) if self.exact else None
        if products is None:
            values, variances = self._along_directions(evaluation)
        else:
            probabilities = self._function == "probabilities"
            squares = products.squares_of_probabilities(outputs) if probabilities else products.squares
            values = squares.sqrt() if self._root else squares
            variances = torch.zeros_like(values)
        # The derivative of some activations is 0 where their input is no number.
        values = values.masked_fill(~outputs.isfinite().all(dim=1).to(values.device), math.nan)
        self._sum += float(values.sum())
        self._variance += float(variances.sum())
        self.samples += evaluation.batch.size

    def _along_directions(self, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """Return each sample's estimate and its variance, from one backward pass for each direction."""
        outputs, derivatives = evaluation.outputs, InputDerivatives(evaluation, self._inputs)
        squares = []
        for direction in self._directions(outputs):
            cotangents = _through_softmax(outputs, direction) if self._function == "probabilities" else direction
            squares.append(power_sums(derivatives.pull(cotangents), 2, evaluation.risk.precise))
        return frobenius(torch.stack(squares), outputs.shape[1], root=self._root)

    def _directions(self, outputs: Tensor) -> Tensor:
        """Return K orthonormal directions for each sample: shape ``[K, B, C]``."""
        size, classes = outputs.shape
        if self.exact:
            return torch.eye(classes).to(outputs)[:, None, :].expand(classes, size, classes)
        normal = torch.from_numpy(self._generator.standard_normal((size, classes, self.directions)))
        return torch.linalg.qr(normal).Q.permute(2, 0, 1).to(outputs)

    @property
    def value(self) -> float:
        """The mean."""
        return self._sum / self.samples

    @property
    def stderr(self) -> float:
        """The standard error over projections; 0 where exact."""
        return math.sqrt(self._variance) / self.samples


def frobenius(squares: Tensor, classes: int, *, root: bool) -> tuple[Tensor, Tensor]:
    """Return each sample's estimate of ``|J|_F^2``, or of ``|J|_F``, and the variance of that estimate.

    Args:
        squares: ``|J^T q_k|^2`` along K orthonormal directions out of C, shape ``[K, B]``.
        classes: C; where K = C the result is exact.
        root: Estimate ``|J|_F``.
    """
    count = squares.shape[0]
    unseen = 1 - count / classes
    total = squares.sum(dim=0)
    whole = total * (classes / count)
    values = whole.sqrt() if root else whole
    if unseen <= 0:
        return values, torch.zeros_like(values)
    without = (total - squares).clamp_min(0) * (classes / (count - 1))
    without = without.sqrt() if root else without
    center = without.mean(dim=0)
    variances = unseen * (count - 1) / count * (without - center).square().sum(dim=0)
    return values + unseen * (count - 1) * (values - center), variances


def _through_softmax(outputs: Tensor, direction: Tensor) -> Tensor:
    """Return ``(diag(p) - p p^T) q`` for each sample, without cancellation where one class has nearly all of p."""
    p = outputs.softmax(dim=1)
    vertex = outputs.argmax(dim=1)
    away = CrossEntropy().gradient(outputs, vertex)
    relative = direction - direction.gather(1, vertex[:, None])
    return p * (relative - (away * relative).sum(dim=1, keepdim=True))


def _estimate(
    risk: Risk, purpose: str, *, function: str, root: bool, method: Method, projections: int, inputs: Names
) -> Generator[Any, Any, Estimate]:
    """Double the projections until the precision asked is reached, at the latest where they are all of output space."""
    while True:
        stream = risk.stream.child(purpose, projections)
        norms = JacobianNorms(
            function=function, root=root, method=method, projections=projections, stream=stream, inputs=inputs
        )
        yield norms
        if norms.exact or risk.rtol is None or norms.stderr <= risk.rtol * abs(norms.value):
            break
        projections *= 2
    details = {"route": "exact" if norms.exact else "projection", "directions": norms.directions, "outputs": function}
    return Estimate(norms.value, norms.stderr, norms.samples, details=details)


@measure(
    MeasureFacts(
        label="Input Jacobian norm",
        symbol=r"E\|\partial g / \partial x\|_F",
        sharper_is="larger",
        kind="complexity",
        kept_for_twins=_is_exact,
        of_classes=lambda options: options["outputs"] == "probabilities",
        invariances=_INVARIANT,
        cost=_COST,
        exact=False,
        scale="ratio",
        reference=(
            'Novak et al., "Sensitivity and Generalization in Neural Networks: an Empirical Study", ICLR 2018, '
            "Section 3.1"
        ),
        caveats=(
            "It is in units of the input: compare it only between models with equally scaled inputs.",
            "Of probabilities it vanishes where the model is certain; of logits it grows with their scale.",
        ),
        unit="outputs per unit of input",
        variants=(({"outputs": "logits"}, _INVARIANT - {"W+1u"}),),
    )
)
def input_jacobian_norm(
    risk: Risk,
    *,
    outputs: Literal["probabilities", "logits"] = "probabilities",
    method: Method = "auto",
    projections: Projections = 8,
    inputs: Names = None,
) -> Steps:
    r"""Mean Frobenius norm of the Jacobian of the model's function in its input (larger is more sensitive).

    .. math:: E \| \partial g(x) / \partial x \|_F

    Exact by one backward pass for each output; or by projections, the first K directions of a random rotation of output
    space for each sample. The root of projected squares is biased low (by 20% from one projection where the Jacobian
    has rank one); the jackknife leaves 0.1% of the value at 8 projections and 0.4% at 4 there, and less elsewhere.
    This rest is no part of the standard error. Memory does not grow with the number of samples.

    Args:
        risk: Model and N samples; floating-point inputs with one row a sample are differentiated, all others are fixed.
        outputs: g: class probabilities (softmax of the outputs), as in the reference, or the outputs themselves.
        method: "exact", "projection", or "auto": exact up to 16 outputs.
        projections: K, at least 2; exact where K is not below C. Doubled until the ``rtol`` of the risk is reached.
        inputs: Which of several inputs are differentiated, by name or position, so that a mask of floats is not; all
            when None.

    Returns:
        The mean over the samples; ``stderr`` is that over projections, 0 where exact; ``details`` has the route and the
        number of directions.

    Raises:
        NotDefined: If no input is floating-point, or there is one output only and so no probability.
    """
    return (
        yield from _estimate(
            risk,
            "input_jacobian_norm",
            function=outputs,
            root=True,
            method=method,
            projections=projections,
            inputs=inputs,
        )
    )


@measure(
    MeasureFacts(
        label="Geometric complexity",
        symbol=r"E\|\partial f / \partial x\|_F^2",
        sharper_is="larger",
        kind="complexity",
        kept_for_twins=_is_exact,
        invariances=_INVARIANT - {"W+1u"},
        cost=_COST,
        exact=False,
        scale="ratio",
        reference=(
            'Dherin et al., "Why Neural Networks Find Simple Solutions: the Many Regularizers of Geometric Complexity",'
            " NeurIPS 2022, Definition 3.1"
        ),
        caveats=(
            "It is in units of the input: compare it only between models with equally scaled inputs.",
            "It grows with the square of the scale of the logits; predictions do not.",
        ),
        unit="squared outputs per squared unit of input",
    )
)
def geometric_complexity(
    risk: Risk, *, method: Method = "auto", projections: Projections = 8, inputs: Names = None
) -> Steps:
    r"""Discrete Dirichlet energy of the logits over the data (larger is more complex).

    .. math:: E \| \partial f(x) / \partial x \|_F^2

    Exact by one backward pass for each output; or unbiased, by projections on the first K directions of a random
    rotation of output space for each sample. Memory does not grow with the number of samples.

    Args:
        risk: Model and N samples; floating-point inputs with one row a sample are differentiated, all others are fixed.
        method: "exact", "projection", or "auto": exact up to 16 outputs.
        projections: K, at least 2; exact where K is not below C. Doubled until the ``rtol`` of the risk is reached.
        inputs: Which of several inputs are differentiated, by name or position, so that a mask of floats is not; all
            when None.

    Returns:
        The mean over the samples; ``stderr`` is that over projections, 0 where exact; ``details`` has the route and the
        number of directions.

    Raises:
        NotDefined: If no input is floating-point.
    """
    return (
        yield from _estimate(
            risk,
            "geometric_complexity",
            function="logits",
            root=False,
            method=method,
            projections=projections,
            inputs=inputs,
        )
    )
