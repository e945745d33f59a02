"""Multilayer perceptrons."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.models.registry import MODELS, DropRate, dropped

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "identity"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


@MODELS.register()
def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: tuple[PositiveInt, ...] = (64, 64),
    activation: Activation = "relu",
    bias: bool = True,
    dropout: DropRate = 0.0,
) -> nn.Module:
    """Multilayer perceptron on flattened inputs.

    Args:
        shape: The shape of one sample; it is flattened.
        classes: The number of outputs.
        hidden: The width of each hidden layer; none gives a linear model.
        activation: What follows each hidden layer.
        bias: Whether the layers have biases, the last one included.
        dropout: Share of each hidden layer's outputs that training drops.

    Returns:
        The network with PyTorch's own initialization of linear layers.

    Raises:
        SpecError: If samples are symbols.
    """
    if len(shape) == 2:
        raise SpecError(f"the model 'mlp' takes numbers, got symbols of shape {shape}; choose one such as 'gpt'")
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((math.prod(shape), *hidden)):
        layers += [nn.Linear(inputs, outputs, bias=bias), _ACTIVATIONS[activation](), *dropped(dropout)]
    head = nn.Linear(hidden[-1] if hidden else math.prod(shape), classes, bias=bias)
    return nn.Sequential(*layers, head)
