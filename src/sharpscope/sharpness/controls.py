"""The controls that every claim about sharpness needs: norms, the gradient, and margins."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need
from sharpscope.curvature.passes.reductions import Count, GradientSum, Values, norm_of
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.losses import class_indices
from sharpscope.errors import NotDefined, SharpscopeError


@measure(
    MeasureFacts(
        label="Gradient norm",
        symbol=r"\|\nabla L\|",
        sharper_is="larger",
        invariances=frozenset({"b+c", "W+1u"}),
        cost="one gradient, about 3 forward passes",
        exact=True,
        scale="ratio",
        reference='Zhao et al., "Penalizing Gradient Norm for Efficiently Improving Generalization", ICML 2022',
        caveats=("It is zero at every exact minimum, flat or sharp.",),
        unit="loss per unit of parameters",
        default=True,
        kind="control",
    )
)
def gradient_norm(risk: Risk) -> Steps:
    r"""Euclidean norm of the gradient of the risk over all parameters, frozen ones included (a control).

    .. math:: \|\nabla L(\theta)\|_2

    Args:
        risk: Model, loss and N samples.

    Returns:
        The exact value (``stderr`` 0).
    """
    gradient = GradientSum()
    yield gradient
    return Estimate(gradient.norm(), samples=gradient.samples)


@measure(
    MeasureFacts(
        label="Parameter norm",
        symbol=r"\|\theta\|",
        sharper_is="larger",
        invariances=frozenset(),
        cost="nothing beside other measures; one forward pass, which counts the samples, alone",
        exact=True,
        scale="ratio",
        reference='Neyshabur et al., "Norm-Based Capacity Control in Neural Networks", COLT 2015',
        caveats=("A control, not a sharpness: nearly all other measures move with it.",),
        default=True,
        kind="control",
    )
)
def parameter_norm(risk: Risk) -> Steps:
    r"""Euclidean norm of all parameters, each tied parameter once (a control).

    .. math:: \|\theta\|_2

    Args:
        risk: The model's risk; the data are counted, not used.

    Returns:
        The exact value (``stderr`` 0).
    """
    count = Count()
    yield count
    norm = norm_of(p.to(risk.precise) for p in risk.parameters.values())
    return Estimate(norm, samples=count.samples, details={"parameters": risk.parameter_count})


@measure(
    MeasureFacts(
        label="Head norm",
        symbol=r"\|W\|_F",
        sharper_is="larger",
        invariances=frozenset({"b+c", "BN"}),
        cost="one forward pass, shared with all measures of outputs and features",
        exact=True,
        scale="ratio",
        reference='Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021 (its weight factor)',
        caveats=("A control: the factor of relative flatness that weight decay acts on.",),
        default=True,
        kind="control",
    )
)
def head_norm(risk: Risk) -> Steps:
    r"""Frobenius norm of the weight of the final linear layer, without its bias (a control).

    .. math:: \|W\|_F

    Args:
        risk: Model and data; a pass over the data finds the head.

    Returns:
        The exact value (``stderr`` 0).

    Raises:
        HeadNotFound: If the model has no linear layer in whose weight the outputs are linear.
    """
    head = _Head()
    yield head
    return Estimate(float(head.weight.to(risk.precise).norm()), samples=head.samples, details={"layer": head.name})


@measure(
    MeasureFacts(
        label="Margin",
        symbol=r"\gamma",
        sharper_is="smaller",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, shared with all measures of outputs and features",
        exact=True,
        scale="difference",
        reference='Bartlett et al., "Spectrally-Normalized Margin Bounds for Neural Networks", NeurIPS 2017',
        caveats=("It grows with the scale of the logits; predictions do not.",),
        unit="logits",
        default=True,
        kind="control",
    )
)
def margin(risk: Risk, *, quantile: Annotated[float, Field(ge=0, le=1)] = 0.1) -> Steps:
    r"""Quantile of the margins of the outputs (smaller is closer to a change of prediction).

    .. math:: \gamma_n = f_y(x_n) - \max_{c \neq y} f_c(x_n)

    Args:
        risk: Model and N samples with class indices as targets; outputs of shape ``[N, C]``, C at least 2. Keeps one
            number a sample.
        quantile: Which quantile of the N margins, linearly interpolated.

    Returns:
        The exact value (``stderr`` 0); ``details`` has the mean and the minimum.
    """
    margins = Values(_margins)
    yield margins
    values = margins.all.numpy()
    with np.errstate(invalid="ignore"):  # infinite outputs: the value is then no number, which is said of it
        value, mean = float(np.quantile(values, quantile)), float(values.mean())
    return Estimate(value, samples=len(values), details={"mean": mean, "min": float(values.min())})


def _margins(evaluation: Evaluation) -> Tensor:
    outputs, targets = evaluation.outputs, evaluation.targets
    if targets.is_floating_point() or targets.shape != outputs.shape[:1] or outputs.shape[1] < 2:
        raise NotDefined("the margin needs class indices as targets, and at least two outputs")
    try:
        index = class_indices(outputs, targets)[:, None]
    except SharpscopeError as error:
        # Samples that a loss ignores may have any target.
        raise NotDefined(str(error)) from error
    own = outputs.gather(1, index).squeeze(1)
    return own - outputs.scatter(1, index, -torch.inf).amax(dim=1)


class _Head(Count):
    """The head that a pass over the data finds."""

    needs = Need.FEATURES

    def update(self, evaluation: Evaluation) -> None:
        """Count a batch and take the head."""
        super().update(evaluation)
        assert evaluation.head is not None
        self.name, self.weight = evaluation.head.name, evaluation.head.weight()

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the count of the samples of ``whole`` that are not in ``part``, and the same head."""
        super().rest_of(whole, part)
        self.name, self.weight = whole.name, whole.weight
