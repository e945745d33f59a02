"""Conditions of weights: what is done to a trained model to make it small. A flat minimum is said to suffer less.

Both alter the parameters that are called ``weight`` and have two dimensions or more: those of linear layers,
convolutions, attention and embeddings. Biases, and the weights of normalizations, are left as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.condition import ConditionFacts
from sharpscope.data.registry import CONDITIONS
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

Weights = dict[str, Tensor]


@CONDITIONS.register(
    facts=ConditionFacts(
        "weights",
        "Rounded weights",
        family="quantization",
        severities=(8, 6, 4, 3),
        differs="the scale is that of the largest weight, and activations are not rounded; a transposed convolution, "
        "whose weight has its inputs first, has a scale for each of these",
        reference='Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295, section 2',
    )
)
def quantized(weights: Weights, severity: int, stream: Stream) -> Weights:
    """Weights rounded to as many bits as the severity says, symmetric about 0, with a scale for each output channel."""
    levels = 2 ** (severity - 1) - 1
    return {name: _rounded(weight, levels) for name, weight in _of_layers(weights).items()}


@CONDITIONS.register(
    facts=ConditionFacts(
        "weights",
        "Pruned weights",
        family="pruning",
        severities=(50, 80, 90),
        differs="all layers together, and no training afterwards",
        reference='Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015',
    )
)
def pruned(weights: Weights, severity: int, stream: Stream) -> Weights:
    """The smallest weights set to 0, as many percent of all layers' as the severity says; of equal ones the first."""
    layers = _of_layers(weights)
    sizes = torch.cat([weight.flatten().abs() for weight in layers.values()])
    smallest = sizes.argsort(stable=True)[: len(sizes) * severity // 100]
    kept = torch.ones_like(sizes, dtype=torch.bool).index_fill(0, smallest, False)
    masks = kept.split([weight.numel() for weight in layers.values()])
    pairs = zip(layers.items(), masks, strict=True)
    return {name: weight.where(mask.view(weight.shape), torch.zeros_like(weight)) for (name, weight), mask in pairs}


def _of_layers(weights: Weights) -> Weights:
    """Return the weights that are altered.

    Raises:
        DataError: If there are none: a model that is left as it is would seem to suffer nothing.
    """
    found = {name: w for name, w in weights.items() if w.ndim > 1 and name.rpartition(".")[2].endswith("weight")}
    if not found:
        raise DataError(
            "weights are rounded and pruned in parameters that are called `weight` and have two dimensions or more, "
            f"and the model has {', '.join(list(weights)[:3]) or 'no parameters'}; leave these scores out"
        )
    return found


def _rounded(weight: Tensor, levels: int) -> Tensor:
    """Return a weight ``[out, ...]`` rounded to multiples of a step, of which its largest is ``levels`` in each row."""
    step = weight.to(torch.float64).abs().flatten(1).amax(dim=1) / levels
    step = step.clamp(min=torch.finfo(torch.float64).tiny).view(-1, *(1,) * (weight.ndim - 1))
    return (torch.round(weight.to(torch.float64) / step) * step).to(weight.dtype)
