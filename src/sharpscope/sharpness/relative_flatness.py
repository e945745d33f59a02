"""Relative flatness (Petzka et al., NeurIPS 2021): of the head in closed form, of other layers by probes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.estimators.sequential_sampling import Draws
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Additive, Evaluation, Need
from sharpscope.curvature.passes.head import HeadFinder
from sharpscope.curvature.passes.reductions import FeatureMoments
from sharpscope.curvature.risk import Risk
from sharpscope.errors import SharpscopeError
from sharpscope.sharpness.layer_flatness import layer_flatness

# Up to so many features, sums over their pairs are kept: 32 MB, and one pass. Beyond, a second pass needs O(D) only.
_MOST_PAIRED = 2048


class _HeadCurvature(Additive):
    """Sums over samples of features times the head's weights, weighted by the curvature of the loss.

    Args:
        variant: "trace" sums ``phi_d^2 v_d'`` with ``v_d' = w_d'^T A w_d'``; "max_eigenvalue" sums ``A_ss phi phi^T``.
        pairs: Keep the sum for every pair of features, for scales that are not known yet: O(D^2) memory. Nothing is
            summed where there are more than 2,048 features.
        scale: The deviation of each feature, 0 for those left out, where it is known: "trace" then sums
            ``phi_d^2 / scale_d^2`` times ``sum_d' scale_d'^2 v_d'``. Ones when None.
    """

    needs = Need.FEATURES

    def __init__(self, *, variant: str = "trace", pairs: bool = False, scale: Tensor | None = None) -> None:
        self._variant = variant
        self._pairs = pairs
        self._scale = scale
        self._sum: Tensor | None = None
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        assert evaluation.features is not None
        assert evaluation.head is not None
        self.head = evaluation.head
        self.weight = evaluation.head.weight().to(evaluation.outputs)
        self.samples += evaluation.batch.size
        batch_sum = self._of(evaluation, evaluation.features)
        if batch_sum is not None:
            batch_sum = batch_sum.to(evaluation.risk.precise)
            self._sum = batch_sum if self._sum is None else self._sum + batch_sum

    def _of(self, evaluation: Evaluation, phi: Tensor) -> Tensor | None:
        loss, outputs, targets = evaluation.risk.loss, evaluation.outputs, evaluation.targets
        if self._variant == "max_eigenvalue":
            diagonal = loss.hessian(outputs, targets).diagonal(dim1=1, dim2=2)
            return torch.einsum("bs,bd,be->sde", diagonal.to(phi), phi, phi)
        if self._pairs:
            if phi.shape[1] > _MOST_PAIRED:
                return None
            along = loss.curvature_along(outputs, targets, self.weight)
            return phi.square().T @ along.to(phi)
        scaled = self.weight if self._scale is None else self.weight * self._scale
        traces = loss.curvature_trace(outputs, targets, scaled @ scaled.T)
        if self._scale is None:
            return (phi.square().sum(dim=1).to(traces) * traces).sum()
        scale = self._scale.to(phi.device)
        normalized = torch.where(scale != 0, phi.to(scale) / scale, 0.0)
        return traces.to(scale) @ normalized.square()

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the sums over the samples of ``whole`` that are not in ``part``."""
        self.head, self.weight = whole.head, whole.weight
        if whole._sum is not None and part._sum is not None:
            self._sum = whole._sum - part._sum
        self.samples = whole.samples - part.samples

    @property
    def unpaired(self) -> bool:
        """Whether there were too many features to keep sums over pairs of them."""
        return self._sum is None

    @property
    def value(self) -> Tensor:
        """The mean over samples: a scalar, ``[D]``, ``[D, D]``, or ``[C, D, D]``."""
        assert self._sum is not None
        return self._sum / self.samples


@measure(
    MeasureFacts(
        label="Relative flatness",
        symbol=r"\kappa",
        sharper_is="larger",
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost=(
            "one forward pass, shared with all measures of outputs and features (two beyond 2,048 features); 2.5 "
            "gradients a probe for layers"
        ),
        exact=True,
        scale="ratio",
        reference='Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021, Definition 3',
        caveats=(
            "Under cross-entropy it depends on confidence: scaling the logits changes it at unchanged predictions.",
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
    layer: str | nn.Module | None = None,
    probes: Draws = 32,
) -> Steps:
    r"""Relative flatness of the final linear layer, or of others (larger is sharper).

    .. math:: \kappa = \sum_{s,s'} \langle w_s, w_{s'} \rangle \, \mathrm{Tr}(H_{s,s'})

    with H the Hessian of the risk in the head's weight W, in C x C blocks of D x D. For a linear layer this is
    :math:`E[|\phi|^2 \mathrm{tr}(W^T A W)]` with A the Hessian of the loss in the outputs, whatever the loss. It takes
    O(D^2) memory, beyond 2,048 features O(D) (O(C D^2) for ``max_eigenvalue``). A head that shares its weight with
    other layers is taken at its own use of it: phi and the other layers stay as they are.

    Args:
        risk: Model, loss and N samples; outputs of shape ``[N, C]``, features of shape ``[N, D]``.
        normalize: Divide each feature by its standard deviation and scale its weight column to match; the function is
            unchanged. Features that are constant on the data but for rounding are left out, and ``details`` says which.
            One that hardly varies may carry the value: ``details["largest_share"]`` is the largest share of a feature.
        variant: "trace" as above; "max_eigenvalue" for :math:`\sum_s |w_s|^2 \lambda_{max}(H_{s,s})`, as in the code of
            the paper's authors.
        layer: None for the head, in closed form. A linear or convolutional layer or its name, or "all" for all of them,
            is estimated by Hessian-vector products, whose number does not depend on how many layers are asked for. A
            convolution is the matrix of its filters; filters of different groups read different inputs, so their cross
            terms do not count. Inputs are normalized by channel; layers that are never called, even if their weights
            are used, have no inputs to normalize: "all" leaves them out then, and names them in ``details``. So it does
            with layers whose weight is no parameter of their own: one that is computed, or listed under another name.
        probes: Products for layers; with ``rtol`` more are made until it is reached.

    Returns:
        The exact value (``stderr`` 0); ``details`` name the head, and the layers that share its weight.
        ``converged`` is false where all features are constant. For layers: the sum over them, with its standard error
        over probes; ``details["layers"]`` has each one's value and standard error.

    Raises:
        HeadNotFound: If the model has no linear layer in whose weight the outputs are linear.
    """
    if layer is not None:
        if variant != "trace":
            raise SharpscopeError("variant='max_eigenvalue' exists for the head only; leave out layer or variant")
        return (yield from layer_flatness(risk, layer, normalize=normalize, probes=probes))
    if normalize:
        return (yield from _normalized(variant))
    raw = _HeadCurvature(variant=variant)
    yield raw
    value = float(raw.value) if variant == "trace" else _largest_blocks(raw.value, raw.weight)
    return Estimate(value, samples=raw.samples, details=_about(raw.head))


def _normalized(variant: str) -> Generator[Any, Any, Estimate]:
    curvature, moments = _HeadCurvature(variant=variant, pairs=True), FeatureMoments()
    yield curvature, moments
    weight, details = curvature.weight, _about(curvature.head)
    keep = ~moments.constant.to(weight.device)
    if not keep.all():
        details["constant_features"] = (~keep).nonzero().flatten().tolist()
    if not keep.any():
        details["reason"] = "all features are constant on the data, so that none can be normalized"
        return Estimate(0.0, samples=curvature.samples, converged=False, details=details)
    scale = moments.variance.sqrt().to(weight).masked_fill(~keep, 0.0)
    if variant == "max_eigenvalue":
        scale = scale[keep]
        blocks = curvature.value.to(scale)[:, keep][:, :, keep] / (scale[:, None] * scale)
        value = _largest_blocks(blocks, weight[:, keep] * scale)
        return Estimate(value, samples=curvature.samples, details=details)
    if curvature.unpaired:
        rescaled = _HeadCurvature(scale=scale)
        yield rescaled
        by_feature = rescaled.value
    else:
        inverse = torch.where(scale != 0, 1 / scale.square(), 0.0)
        by_feature = inverse * (curvature.value.to(scale) @ scale.square())
    value = float(by_feature.sum())
    details["largest_share"] = float(by_feature.max()) / value if value else 0.0
    return Estimate(value, samples=curvature.samples, details=details)


def _about(head: HeadFinder) -> dict[str, object]:
    return {"layer": head.name, **({"shared_with": head.shared_with} if head.shared_with else {})}


def _largest_blocks(blocks: Tensor, weight: Tensor) -> float:
    """Return ``sum_s |w_s|^2 lambda_max(H_ss)`` for blocks ``[C, D, D]`` and weights ``[C, D]``."""
    largest = torch.linalg.eigvalsh(blocks.to(weight))[:, -1]
    return float((weight.square().sum(dim=1) * largest).sum())
