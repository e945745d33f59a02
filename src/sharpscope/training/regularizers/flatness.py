"""Relative flatness of the head as a part of the loss: flatter and sharper minima on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from sharpscope.errors import HeadNotFound, SpecError
from sharpscope.training.precision import widened
from sharpscope.training.recipe import Penalty, Recipe
from sharpscope.training.registry import OF_CLASSES, REGIMES


def relative_flatness_of(features: Tensor, probabilities: Tensor, weight: Tensor, *, normalize: bool = False) -> Tensor:
    r"""Return the relative flatness of a head under cross-entropy, differentiable in all that it is of.

    .. math:: \kappa = E\big[ |\phi|^2 \big( \textstyle\sum_c p_c |w_c|^2 - |\sum_c p_c w_c|^2 \big) \big]

    Args:
        features: Input of the head, shape ``[N, D]``.
        probabilities: Of the classes, shape ``[N, C]``.
        weight: Of the head, shape ``[C, D]``.
        normalize: Whether to rescale features and weights first, as ``standardized`` does.

    Reference: Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021, Definition 3.
    """
    if normalize:
        features, weight = standardized(features, weight)
    spread = probabilities @ weight.square().sum(dim=1) - (probabilities @ weight).square().sum(dim=1)
    return (features.square().sum(dim=1) * spread).mean()


def standardized(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each feature by its standard deviation over the batch, and multiply its weights by it.

    The function is unchanged but for features that are constant in the batch: they are left out. The deviations are
    differentiated too.

    Args:
        features: Input of the head, shape ``[N, D]``.
        weight: Of the head, shape ``[C, D]``.
    """
    variance = features.var(dim=0, correction=0)
    lowest, highest = features.detach().aminmax(dim=0)
    # Rounding may leave a constant feature a variance, or a varying one none.
    varying = (highest > lowest) & (variance > 0)
    deviation = variance.where(varying, 1.0).sqrt()
    return features / deviation * varying, weight * deviation * varying


@contextmanager
def watching_head(model: nn.Module, *, strength: float, normalize: bool = False) -> Iterator[Penalty]:
    """Watch the linear layers of a model for a block; yield ``strength`` times the relative flatness of the last.

    Raises:
        HeadNotFound: When the penalty is asked for outputs that no linear layer returned.
    """
    calls: dict[nn.Linear, tuple[Tensor, Tensor]] = {}

    def record(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[layer] = (inputs[0], output)

    def penalty(outputs: Tensor) -> Tensor:
        for layer, (features, output) in calls.items():
            if output is outputs and features.ndim == 2:
                calls.clear()
                probabilities = widened(outputs).softmax(dim=1)
                flatness = relative_flatness_of(widened(features), probabilities, layer.weight, normalize=normalize)
                return strength * flatness
        raise HeadNotFound(
            "relative flatness in the loss needs a final linear layer whose output is the model's output; "
            "take 'relative_flatness' out of the regimes, or return the logits of such a layer"
        )

    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield penalty
    finally:
        for handle in handles:
            handle.remove()


@REGIMES.register(facts=OF_CLASSES)
def relative_flatness(recipe: Recipe, *, strength: float = 0.01, normalize: bool = False) -> Recipe:
    """Relative flatness of the head added to the loss: flatter minima, or sharper ones.

    In closed form, so that it costs little more than the loss: the Hessian with respect to the head's weights enters
    through features, probabilities and weights, and all three are differentiated. It is over the batch as it comes. The
    record of the training shows the loss without it.

    Args:
        recipe: The recipe to change.
        strength: The factor on it; a negative one sharpens. Sharpening has an end, since relative flatness has no upper
            bound: by too large a factor the features grow until probabilities saturate, the fit is lost, and relative
            flatness itself may collapse to zero. On the digits of scikit-learn -0.003 sharpened and -0.03 lost the
            fit, normalized -0.0003 and -0.001; 0.03 flattened and cost little of it, normalized 0.01.
        normalize: As in the measure: divide each feature by its standard deviation, over the batch, and scale its
            weights to match, so that scaling a feature against its weights changes nothing. Features that are
            constant in the batch are left out. With ``accumulate`` each micro-batch is a batch here.

    Raises:
        SpecError: If the strength is zero.

    Reference: Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021; as a regularizer: Adilova et al.,
        "FAM: Relative Flatness Aware Minimization", TAG-ML 2023.
    """
    if strength == 0:
        raise SpecError("a strength of 0 changes nothing; give a positive one to flatten or a negative one to sharpen")
    return replace(
        recipe, penalties=(*recipe.penalties, partial(watching_head, strength=strength, normalize=normalize))
    )
