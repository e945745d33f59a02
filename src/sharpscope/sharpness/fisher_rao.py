"""The Fisher-Rao norm (Liang et al., AISTATS 2019): exact on every architecture, and its homogeneous closed form."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need
from sharpscope.curvature.passes.radial import tangent
from sharpscope.curvature.passes.reductions import Mean, RadialMoments
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.losses import CrossEntropy
from sharpscope.errors import NotDefined

_LIANG = 'Liang et al., "Fisher-Rao Metric, Geometry, and Complexity of Neural Networks", AISTATS 2019'


@measure(
    MeasureFacts(
        label="Fisher-Rao norm",
        symbol=r"\|\theta\|_{fr}",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u"}),
        cost="about 2.7 forward passes; nothing beside the gradient where that is computed",
        exact=True,
        scale="ratio",
        reference=f"{_LIANG}, Definition 2",
        caveats=(
            "With labels of the data it vanishes with the loss: compare it at matched train loss.",
            "Folding BatchNorm changes the parameters it is taken over, and so its value.",
        ),
        unit="loss",
        default=True,
    )
)
def fisher_rao_norm(risk: Risk, *, labels: Literal["data", "model"] = "data") -> Steps:
    r"""Fisher-Rao norm of the parameters (larger is sharper).

    .. math:: \|\theta\|_{fr} = \sqrt{E[\langle \theta, \nabla l_n \rangle^2]}

    Exact for every architecture, by one backward pass to the outputs of the operations, or a directional derivative
    along theta where a parameter is used in a way that the former cannot see (``details["route"]`` says which).

    Args:
        risk: Model, loss and N samples.
        labels: "data" for the gradients at the given labels, as in the reference; "model" for the expectation over
            labels drawn from the model (the true Fisher; cross-entropy only).

    Returns:
        The exact value (``stderr`` 0); ``details["shares"]`` has the share of each operation in the square, by its
        first parameter, where the route gives it.
    """
    if labels == "model":
        _only_cross_entropy(risk, "fisher_rao_norm with labels of the model")
        spread = Mean(_variance_of_tangent, Need.DERIVATIVES)
        yield spread
        return Estimate(_root(spread.value), samples=spread.samples, details={"route": "forward_mode"})
    moments = RadialMoments()
    yield moments
    return Estimate(
        math.sqrt(moments.mean_square),
        samples=moments.samples,
        details={"route": moments.route, "shares": moments.shares},
    )


def _variance_of_tangent(evaluation: Evaluation) -> Tensor:
    """Return ``sum_c p_c fdot_c^2 - (sum_c p_c fdot_c)^2`` with fdot the derivative of the outputs along theta."""
    risk = evaluation.risk
    _, pushed = tangent(risk, evaluation.batch, risk.parameters)
    pushed = risk.exact(pushed)
    p = evaluation.outputs.softmax(dim=1)
    # Differences to the most probable class, so that nothing cancels where that class has nearly all probability.
    centered = pushed - pushed.gather(1, evaluation.outputs.argmax(dim=1, keepdim=True))
    return ((p * centered.square()).sum(dim=1) - (p * centered).sum(dim=1).square()).clamp_min(0)


@measure(
    MeasureFacts(
        label="Fisher-Rao norm (homogeneous form)",
        symbol=r"\|\theta\|_{fr}^{hom}",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, shared with all measures of outputs and features",
        exact=True,
        scale="ratio",
        reference=f"{_LIANG}, Theorem 3.1",
        caveats=(
            "It equals the exact norm only if every path has the same number of weight layers, without biases, and all "
            "activations are positively homogeneous; kept to compare with published numbers.",
        ),
        unit="loss",
        default=True,
    )
)
def fisher_rao_norm_analytic(risk: Risk, *, degree: PositiveInt | None = None) -> Steps:
    r"""Fisher-Rao norm by the formula for homogeneous networks (larger is sharper).

    .. math:: k \sqrt{E[\langle \partial l / \partial f, f \rangle^2]}

    which is :math:`k \sqrt{E[(\langle p, f \rangle - f_y)^2]}` for cross-entropy.

    Args:
        risk: Model, loss and N samples; outputs of shape ``[N, C]``.
        degree: k; the number of linear and convolutional modules when None.

    Returns:
        The exact value of the formula (``stderr`` 0); ``details["degree"]`` is k.

    Raises:
        NotDefined: If the model has no such modules and no degree is given.
    """
    if degree is None:
        degree = sum(isinstance(module, nn.Linear | _ConvNd) for module in risk.model.modules())
        if degree == 0:
            raise NotDefined(
                "the homogeneous form counts linear and convolutional modules, and the model has none; pass the option "
                "degree"
            )
    radial = Mean(_radial_in_outputs)
    yield radial
    return Estimate(degree * _root(radial.value), samples=radial.samples, details={"degree": degree})


def _root(mean_square: float) -> float:
    """Return the root of what a difference of sums may leave below zero; NaN stays NaN."""
    return math.sqrt(0.0 if mean_square < 0 else mean_square)


def _radial_in_outputs(evaluation: Evaluation) -> Tensor:
    gradient = evaluation.risk.loss.gradient(evaluation.outputs, evaluation.targets)
    return (gradient * evaluation.outputs).sum(dim=1).square()


def _only_cross_entropy(risk: Risk, what: str) -> None:
    if not isinstance(risk.loss, CrossEntropy):
        raise NotDefined(f"{what} is defined for loss='cross_entropy' only")
