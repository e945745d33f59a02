"""Test functions of optimization, as functions of the plane: what a network fits to them is known everywhere.

A member is ``(x, y) -> values``, three float64 tensors of one shape. ``module:function`` names one of the user's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sharpscope.registry import Registry

FUNCTIONS: Registry = Registry("test function", package="sharpscope.data.sets", importable=True)


@FUNCTIONS.register()
def sphere(x: Tensor, y: Tensor) -> Tensor:
    """Square of the distance from its minimum, 0 at (0, 0)."""
    return x**2 + y**2


@FUNCTIONS.register()
def booth(x: Tensor, y: Tensor) -> Tensor:
    """A tilted quadratic bowl; minimum 0 at (1, 3)."""
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


@FUNCTIONS.register()
def three_hump_camel(x: Tensor, y: Tensor) -> Tensor:
    """A polynomial with three minima, the least of which is 0 at (0, 0)."""
    return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2


@FUNCTIONS.register()
def himmelblau(x: Tensor, y: Tensor) -> Tensor:
    """A polynomial with four minima of 0, one of them at (3, 2)."""
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@FUNCTIONS.register()
def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    """A narrow curved valley; minimum 0 at (1, 1)."""
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2


@FUNCTIONS.register()
def beale(x: Tensor, y: Tensor) -> Tensor:
    """A plain with steep corners; minimum 0 at (3, 0.5)."""
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


@FUNCTIONS.register()
def rastrigin(x: Tensor, y: Tensor) -> Tensor:
    """A bowl with a minimum near every point of whole numbers, the least of which is 0 at (0, 0)."""
    return 20 + x**2 + y**2 - 10 * (torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y))


@FUNCTIONS.register()
def ackley(x: Tensor, y: Tensor) -> Tensor:
    """A rippled plain around a deep hole; minimum 0 at (0, 0)."""
    waves = (torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)) / 2
    return 20 + math.e - 20 * torch.exp(-0.2 * torch.sqrt((x**2 + y**2) / 2)) - torch.exp(waves)


@FUNCTIONS.register()
def griewank(x: Tensor, y: Tensor) -> Tensor:
    """A wide bowl under a product of waves; minimum 0 at (0, 0)."""
    return 1 + (x**2 + y**2) / 4000 - torch.cos(x) * torch.cos(y / math.sqrt(2))
