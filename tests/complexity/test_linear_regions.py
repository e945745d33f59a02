"""Linear regions along segments: against a walk from switch to switch, dense sampling, and counting by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharpscope import measure
from sharpscope.complexity.kinks import linear_pieces
from sharpscope.errors import NotDefined, SharpscopeError

NAME = "linear_regions"


def mlp(*widths: int, seed: int = 0, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1]).double()


def segments(count: int, *shape: int, seed: int = 0, size: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randn(2, count, *shape, generator=generator, dtype=torch.float64)
    return size * ends[0], size * ends[1]


def counts(model: nn.Module, starts: Tensor, ends: Tensor) -> list[int]:
    with torch.no_grad():
        found: list[int] = linear_pieces(starts, ends, model.eval()).counts.tolist()
    return found


def walked(model: nn.Sequential, start: Tensor, end: Tensor) -> int:
    """Count by stepping from switch to switch, with the active units of a ReLU MLP held fixed in between."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    slope = end - start
    place, regions = 0.0, 1
    active = [None] * (len(layers) - 1)
    while True:
        # Value and slope of every unit along the segment at the present place, by the units that are active there.
        value, change = start + place * slope, slope
        nearest = math.inf
        for index, layer in enumerate(layers[:-1]):
            value, change = layer.weight @ value + layer.bias, layer.weight @ change
            if active[index] is None:
                active[index] = (value > 0).double()
            ahead = -value / change
            # A unit that has just switched moves away from zero.
            leaving = (value.abs() < 1e-9) & ((value + change).sign() == (2 * active[index] - 1))
            ahead[(ahead <= 1e-13) | leaving] = math.inf
            moving = torch.where((2 * active[index] - 1) * change < 0, ahead, math.inf)
            nearest = min(nearest, float(moving.min()))
            value, change = active[index] * value, active[index] * change
        if place + nearest >= 1:
            return regions
        place += nearest
        regions += 1
        point = start + (place + 1e-11) * slope
        active = []
        for layer in layers[:-1]:
            point = layer.weight @ point + layer.bias
            active.append((point > 0).double())
            point = point.relu()


@pytest.mark.parametrize("widths", [(2, 8, 1), (2, 16, 16, 3), (5, 12, 12, 12, 2)], ids=str)
def test_a_walk_from_switch_to_switch_counts_the_same(widths: tuple[int, ...]) -> None:
    model = mlp(*widths)
    starts, ends = segments(20, widths[0])
    with torch.no_grad():
        expected = [walked(model, start, end) for start, end in zip(starts, ends, strict=True)]
    assert counts(model, starts, ends) == expected
    assert max(expected) > 4


def sampled(pattern: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, steps: int = 100_001) -> int:
    """Count the changes of what is active at dense points; a region that lies between two of them is missed."""
    places = torch.linspace(0, 1, steps, dtype=torch.float64).view(-1, *[1] * start.ndim)
    with torch.no_grad():
        found = pattern((1 - places) * start + places * end)
    return 1 + int((found[1:] != found[:-1]).any(dim=1).sum())


def test_dense_sampling_of_a_convolutional_network_counts_the_same() -> None:
    torch.manual_seed(1)
    first, second = nn.Conv2d(1, 2, 3, padding=1).double(), nn.Conv2d(2, 2, 2).double()
    model = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), second, nn.Flatten(), nn.LeakyReLU())

    def pattern(images: Tensor) -> Tensor:
        before = first(images)
        pooled, largest = functional.max_pool2d(before.relu(), 2, ceil_mode=True, return_indices=True)
        # Where all of a window is inactive, which pixel is the largest is of no meaning.
        largest = torch.where(pooled > 0, largest, -1)
        return torch.cat([part.flatten(1).long() for part in (before > 0, largest, second(pooled) > 0)], dim=1)

    starts, ends = segments(6, 1, 5, 5)
    expected = [sampled(pattern, start, end) for start, end in zip(starts, ends, strict=True)]
    assert counts(model, starts, ends) == expected
    assert max(expected) > 40


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((1, 3), ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2)],
    ids=str,
)
def test_windows_are_those_of_the_pooling(pool: nn.MaxPool2d) -> None:
    def pattern(images: Tensor) -> Tensor:
        return functional.max_pool2d(
            images, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
        )[1].flatten(1)

    starts, ends = segments(4, 2, 5, 5, seed=3)
    model = nn.Sequential(pool, nn.Flatten())
    assert counts(model, starts, ends) == [
        sampled(pattern, start, end, 20_001) for start, end in zip(starts, ends, strict=True)
    ]


class Made(nn.Module):
    """A function of one number, as a network with a parameter."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.scale * x)


BENT: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "nothing": (lambda x: 3 * x + 1, 1),
    "relu": (lambda x: functional.relu(x) + functional.relu(x - 1), 3),
    "relu in place": (lambda x: functional.relu_(x - 0.5) + x, 2),
    "relu6": (lambda x: functional.relu6(4 * x), 3),
    "leaky": (lambda x: functional.leaky_relu(x, 0.1), 2),
    "prelu": (lambda x: functional.prelu(x, torch.tensor([0.3]).double()), 2),
    "absolute": (lambda x: ((x - 1).abs() - 0.5).abs(), 4),
    "hard tanh": (lambda x: functional.hardtanh(x, -0.5, 1.5), 3),
    "hard sigmoid": (lambda x: functional.hardsigmoid(4 * x), 3),
    "soft shrink": (lambda x: functional.softshrink(x, 0.25), 3),
    "clamp": (lambda x: x.clamp(min=0.5), 2),
    "clamp both": (lambda x: torch.clamp(x, -0.5, 0.5), 3),
    "threshold": (lambda x: functional.threshold(x, 0.0, 0.0), 2),
    "maximum": (lambda x: torch.maximum(x, 1 - x), 2),
    # At 0.5 the first minimum switches, though the second one hides it.
    "minimum of three": (lambda x: torch.minimum(torch.minimum(x, 1 - x), 0.2 * x), 4),
    "residual": (lambda x: functional.relu(x + functional.relu(1 - x) - 1.5), 3),
    "the same twice": (lambda x: functional.relu(x - 0.3) + functional.relu(2 * x - 0.6), 2),
}


@pytest.mark.parametrize("name", BENT)
def test_kinks_of_a_function_of_one_number_are_counted(name: str) -> None:
    function, expected = BENT[name]
    start, end = torch.tensor([[-1.1]]).double(), torch.tensor([[2.3]]).double()
    assert counts(Made(function), start, end) == [expected]
    assert counts(Made(function), end, start) == [expected]


@pytest.mark.parametrize(
    "function",
    [
        torch.tanh,
        functional.gelu,
        functional.silu,
        lambda x: functional.relu(x) * x,
        lambda x: functional.softplus(functional.relu(x)),
        lambda x: functional.layer_norm(torch.cat([x, x**2, functional.relu(x)], dim=1), (3,)),
        lambda x: x.sign(),
    ],
)
def test_what_is_not_piecewise_linear_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    start, end = torch.tensor([[-1.1], [0.1]]).double(), torch.tensor([[2.3], [0.7]]).double()
    with pytest.raises(NotDefined, match="not linear between the kinks of ReLUs"):
        counts(Made(function), start, end)


def test_the_measure_is_the_mean_over_pairs_of_samples_with_its_error() -> None:
    model = mlp(2, 16, 16, 3)
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = measure(model, (x, torch.zeros(50, dtype=torch.long)), {NAME: {"segments": 2000}})[NAME]
    first, second = np.triu_indices(50, 1)
    every = np.array(counts(model, x[first], x[second]))
    # There are fewer pairs than asked for, so that all of them are taken.
    assert found.value == pytest.approx(every.mean())
    assert found.details["draws"] == len(every) == 1225
    assert found.details["most"] == every.max()
    assert found.stderr == 0
    lengths = (x[first] - x[second]).norm(dim=1).sum()
    assert found.details["per_length"] == pytest.approx((every - 1).sum() / float(lengths))


def test_its_error_covers_the_choice_of_pairs() -> None:
    model = mlp(2, 16, 16, 3)
    x = torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = (x, torch.zeros(4000, dtype=torch.long))
    found = [measure(model, data, {NAME: {"segments": 20}}, seed=seed)[NAME] for seed in range(30)]
    values, stated = np.array([e.value for e in found]), np.array([e.stderr for e in found])
    assert math.sqrt(np.mean(stated**2)) == pytest.approx(values.std(ddof=1), rel=0.4)
    assert len({e.value for e in found}) > 10


def test_a_network_in_single_precision_is_counted_in_double() -> None:
    model = mlp(2, 16, 16, 3).float()
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    data = (x, torch.zeros(40, dtype=torch.long))
    double = (x.double(), data[1])
    assert measure(model, data, [NAME])[NAME].value == measure(model.double(), double, [NAME])[NAME].value


def test_more_regions_than_can_be_counted_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpscope.complexity.kinks._LIMIT", 30)
    with pytest.raises(SharpscopeError, match="more than 30 linear regions along 20 segments; ask for fewer"):
        counts(mlp(2, 16, 16, 3), *segments(20, 2))


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (mlp(2, 4, 2, activation=nn.Tanh), torch.randn(5, 2), "not linear between the kinks"),
        (mlp(2, 4, 2), torch.randn(1, 2), "needs two samples at least"),
        (nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)), torch.zeros(4, 2).long(), "floating-point"),
    ],
)
def test_data_and_networks_without_linear_regions_are_refused(model: nn.Module, inputs: Tensor, message: str) -> None:
    with pytest.raises(NotDefined, match=message):
        measure(model, (inputs, torch.zeros(len(inputs), dtype=torch.long)), [NAME])
