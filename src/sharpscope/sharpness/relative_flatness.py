"""Relative flatness (Petzka et al., NeurIPS 2021): of the head in closed form, of other layers by probes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need
from sharpscope.curvature.reductions import FeatureMoments
from sharpscope.curvature.risk import Risk
from sharpscope.errors import SharpscopeError
from sharpscope.sharpness.layer_flatness import layer_flatness


class _HeadCurvature:
    """Sums over samples of features times the head's weights, weighted by the curvature of the loss.

    Args:
        variant: "trace" sums ``phi_d^2 v_d'`` with ``v_d' = w_d'^T A w_d'``; "max_eigenvalue" sums ``A_ss phi phi^T``.
        pairs: Keep the sum for every pair of features, which the normalization needs: O(D^2) memory.
    """

    needs = Need.FEATURES

    def __init__(self, *, variant: str, pairs: bool) -> None:
        self._variant = variant
        self._pairs = pairs
        self._sum: Tensor | None = None
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        assert evaluation.features is not None
        assert evaluation.head is not None
        self.head_name = evaluation.head.name
        phi, outputs = evaluation.features, evaluation.outputs
        self.weight = evaluation.head.weight().to(outputs)
        loss = evaluation.risk.loss
        if self._variant == "max_eigenvalue":
            diagonal = loss.hessian(outputs, evaluation.targets).diagonal(dim1=1, dim2=2)
            batch_sum = torch.einsum("bs,bd,be->sde", diagonal.to(phi), phi, phi)
        else:
            if self._pairs:
                along = loss.curvature_along(outputs, evaluation.targets, self.weight)
                batch_sum = phi.square().T @ along.to(phi)
            else:
                traces = loss.curvature_trace(outputs, evaluation.targets, self.weight @ self.weight.T)
                batch_sum = (phi.square().sum(dim=1).to(traces) * traces).sum()
        batch_sum = batch_sum.to(evaluation.risk.precise)
        self._sum = batch_sum if self._sum is None else self._sum + batch_sum
        self.samples += evaluation.batch.size

    def rest_of(self, whole: _HeadCurvature, part: _HeadCurvature) -> None:
        """Become the sums over the samples of ``whole`` that are not in ``part``."""
        assert whole._sum is not None
        assert part._sum is not None
        self.head_name, self.weight = whole.head_name, whole.weight
        self._sum = whole._sum - part._sum
        self.samples = whole.samples - part.samples

    @property
    def value(self) -> Tensor:
        """The mean over samples: ``[D, D]``, a scalar, or ``[C, D, D]``."""
        assert self._sum is not None
        return self._sum / self.samples


@measure(
    MeasureFacts(
        label="Relative flatness",
        symbol=r"\kappa",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, shared with all measures of outputs and features; 2.5 gradients a probe for layers",
        exact=True,
        reference='Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021, Definition 3',
        caveats=(
            "It depends on confidence: scaling the logits changes it at unchanged predictions.",
            "It describes the head only, unless a layer is named; a hidden layer may tell another story.",
            "The value of a hidden layer is an estimate and can be negative.",
        ),
        default=True,
        variants=(
            ({"normalize": False}, frozenset({"LW", "b+c", "W+1u", "BN"})),
            ({"variant": "max_eigenvalue"}, frozenset({"LW", "NW", "b+c", "BN"})),
        ),
    )
)
def relative_flatness(
    risk: Risk,
    *,
    normalize: bool = True,
    variant: Literal["trace", "max_eigenvalue"] = "trace",
    layer: str | None = None,
    probes: int = 32,
) -> Steps:
    r"""Relative flatness of the final linear layer, or of others (larger is sharper).

    .. math:: \kappa = \sum_{s,s'} \langle w_s, w_{s'} \rangle \, \mathrm{Tr}(H_{s,s'})

    with H the Hessian of the risk in the head's weight W, in C x C blocks of D x D. For a linear layer this is
    :math:`E[|\phi|^2 \mathrm{tr}(W^T A W)]` with A the Hessian of the loss in the outputs, whatever the loss. Exact and
    independent of batching: one streamed forward pass, O(D^2) memory (O(C D^2) for ``max_eigenvalue``).

    Args:
        risk: Model, loss and N samples; outputs of shape ``[N, C]``, features of shape ``[N, D]``.
        normalize: Divide each feature by its standard deviation and scale its weight column to match; the function is
            unchanged. Features that are constant on the data are left out, and ``details`` says which.
        variant: "trace" as above; "max_eigenvalue" for :math:`\sum_s |w_s|^2 \lambda_{max}(H_{s,s})`, as in the code of
            the paper's authors.
        layer: None for the head, in closed form. The name of a linear or convolutional layer, or "all" for all of them,
            is estimated by Hessian-vector products, whose number does not depend on how many layers are asked for. A
            convolution is the matrix of its filters; filters of different groups read different inputs, so their cross
            terms do not count. Inputs are normalized by channel.
        probes: Products for layers; with ``rtol`` more are made until it is reached.

    Returns:
        The exact value (``stderr`` 0), dimensionless; ``details`` name the head. For layers: the sum over them, with
        its standard error over probes; ``details["layers"]`` has each one's value and standard error.

    Raises:
        HeadNotFound: If the model has no linear layer in whose weight the outputs are linear.

    Reference: Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021, Definition 3.
    """
    if layer is not None:
        if variant != "trace":
            raise SharpscopeError("variant='max_eigenvalue' exists for the head only; leave out layer or variant")
        return (yield from layer_flatness(risk, layer, normalize=normalize, probes=probes))
    curvature = _HeadCurvature(variant=variant, pairs=normalize)
    moments = FeatureMoments()
    yield (curvature, moments) if normalize else curvature
    sums, weight = curvature.value, curvature.weight
    details: dict[str, object] = {"layer": curvature.head_name}
    scale = torch.ones(weight.shape[1], dtype=weight.dtype, device=weight.device)
    keep = torch.ones_like(scale, dtype=torch.bool)
    if normalize:
        keep = ~moments.constant.to(weight.device)
        scale = moments.variance.to(weight).sqrt()
        if not keep.all():
            details["constant_features"] = (~keep).nonzero().flatten().tolist()
    if variant == "max_eigenvalue":
        value = _largest_blocks(sums, weight, scale, keep)
    elif normalize:
        variance = scale.square()[keep]
        sums = sums.to(weight)[keep][:, keep]
        value = float((1 / variance) @ sums @ variance) if bool(keep.any()) else 0.0
    else:
        value = float(sums)
    return Estimate(value, samples=curvature.samples, details=details)


def _largest_blocks(blocks: Tensor, weight: Tensor, scale: Tensor, keep: Tensor) -> float:
    scale = scale[keep]
    blocks = blocks.to(weight)[:, keep][:, :, keep] / (scale[:, None] * scale)
    if not blocks.numel():
        return 0.0
    largest = torch.linalg.eigvalsh(blocks)[:, -1]
    return float(((weight[:, keep] * scale).square().sum(dim=1) * largest).sum())
