"""How unsure a model is of its training data: the confidence that many measures of sharpness move with."""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.passes.reductions import Mean
from sharpscope.curvature.risk import Risk
from sharpscope.errors import NotDefined


@measure(
    MeasureFacts(
        label="Entropy of predictions",
        symbol=r"H(p)",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, shared with all measures of outputs and features",
        exact=True,
        scale="ratio",
        reference='Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions", 2017',
        caveats=("It falls with the scale of the logits; predictions do not change.",),
        unit="nats",
        kind="control",
        of_classes=lambda options: True,
    )
)
def prediction_entropy(risk: Risk) -> Steps:
    r"""Mean entropy of the predicted probabilities (larger is less sure, right or wrong).

    .. math:: E\Big[ -\sum_c p_c \log p_c \Big]

    Args:
        risk: Model and N samples; logits of shape ``[N, C]``, C at least 2, of classes.

    Returns:
        The exact value (``stderr`` 0), in nats.

    Raises:
        NotDefined: If the model does not predict classes.
    """
    mean = Mean(_entropy)
    yield mean
    return Estimate(mean.value, samples=mean.samples)


def _entropy(evaluation: Evaluation) -> Tensor:
    outputs, targets = evaluation.outputs, evaluation.targets
    if outputs.shape[1] < 2 or targets.is_floating_point():
        raise NotDefined("the entropy of predictions needs class indices as targets, and at least two outputs")
    logs = torch.log_softmax(outputs, dim=1)
    return -(logs.exp() * logs).sum(dim=1)
